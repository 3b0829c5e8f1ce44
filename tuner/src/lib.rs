//! Makes a Linux host fit for low latency, and takes it back: audit, plan, apply, verify, undo.
//!
//! The way through it: [`facts`] are read from a [`host`] once. The [`catalogue`] of [`knob`]s says which settings
//! there are on such a host, a [`profile`] what is wished for them. [`audit`] compares both and finds; [`plan`] turns
//! findings into changes; [`engine`] makes them, journaled so that each can be undone. What holds: nothing but `engine`
//! writes to the host; what is found says how it was found; what cannot be known is called unknown.

pub mod audit;
pub mod boot;
pub mod capture;
pub mod catalogue;
pub mod engine;
pub mod facts;
pub mod gpu;
pub mod host;
pub mod interlock;
pub mod knob;
pub mod measure;
pub mod persist;
pub mod place;
pub mod plan;
pub mod profile;
