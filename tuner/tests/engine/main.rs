//! The engine on a small machine in memory: what it does and refuses, and that whatever interrupts it, all is as before.

mod confirming;
mod deaths;
mod drawn;
mod plans;
mod refusing;
mod small;
mod undoing;
