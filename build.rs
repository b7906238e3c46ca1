//! Tells the linker how an addon finds Node's symbols on this platform.

fn main() {
    napi_build::setup();
    // Equal functions become one. Only LLVM's linker and mold know how, so whoever builds packages says that one of them links.
    println!("cargo:rerun-if-env-changed=STREAMER_FOLD");
    if std::env::var_os("STREAMER_FOLD").is_some() {
        println!("cargo:rustc-cdylib-link-arg=-Wl,--icf=all");
    }
}
