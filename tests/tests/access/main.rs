//! Who may read the metrics: each way on the real agent, with curl and with Prometheus' own scrape settings.
//! Every way is also tried wrong, and must then give nothing away.

mod bed;
mod curl;
mod limits;
mod prometheus;
mod secrets;
mod tls;
mod where_from;
