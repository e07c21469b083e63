//! Compiles the messages of the gRPC API, without `protoc`.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    #[cfg(feature = "proto")]
    proto::compile()?;
    Ok(())
}

#[cfg(feature = "proto")]
mod proto {
    use std::error::Error;
    use std::path::PathBuf;

    const FILE: &str = "proto/tokenweir/v1/metering.proto";

    pub(super) fn compile() -> Result<(), Box<dyn Error>> {
        println!("cargo::rerun-if-changed=proto");
        let mut compiler = protox::Compiler::new(["proto"])?;
        compiler.include_source_info(true).open_file(FILE)?;
        let out = PathBuf::from(std::env::var_os("OUT_DIR").ok_or("cargo names OUT_DIR")?);
        std::fs::write(out.join("metering.bin"), compiler.encode_file_descriptor_set())?;
        tonic_prost_build::configure()
            .build_client(cfg!(feature = "client"))
            .build_server(cfg!(feature = "server"))
            .build_transport(false)
            .compile_fds(compiler.file_descriptor_set())?;
        Ok(())
    }
}
