//! Tells the linker how an addon finds Node's symbols on this platform.

fn main() {
    napi_build::setup();
}
