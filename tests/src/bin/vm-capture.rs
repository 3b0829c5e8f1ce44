//! Prints the state of the machine that it runs on: what `tests::vm::Machine::capture` runs in the guest.

fn main() -> std::io::Result<()> {
    tests::vm::walk(&mut std::io::stdout().lock())
}
