//! A target that means harm, beside one that does not, and an agent that watches both.
//! What is asked of the agent is that the good one's numbers stay exact and that scrapes stay quick, whatever the other does.

mod attack;
mod duel;
mod fuse;
mod good;
mod layers;
mod scrapes;

pub use self::{
    attack::Attack,
    duel::Duel,
    fuse::Fuse,
    good::{Good, node},
    layers::Layers,
    scrapes::Scrapes,
};
