//! The `tuner` program: reads its command line, has the verb done, and ends with the status that says how it went.

mod cli;
mod report;

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(cli::main())
}
