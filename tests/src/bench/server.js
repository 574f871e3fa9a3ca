// The server under load: a plain Node.js HTTP server that answers every request with 200 bytes behind a head of 165.
"use strict";
const http = require("node:http");

const body = Buffer.alloc(200, "x");
const server = http.createServer((request, response) => {
  request.resume();
  response.writeHead(200, {
    "Content-Type": "text/plain",
    "Content-Length": body.length,
    "X-Request-Id": "V1StGXR8_Z5jdHi6B-myT0",
  });
  response.end(body);
});
// Connections are held open without a request for as long as the benchmark likes.
server.keepAliveTimeout = 0;
server.headersTimeout = 0;
server.requestTimeout = 0;
server.listen({ host: "127.0.0.1", port: 0, backlog: 4096 }, () => {
  console.log(`listening ${server.address().port}`);
});
