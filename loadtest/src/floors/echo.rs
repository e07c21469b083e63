//! HTTP alone: a server that parses a body of debits and says how many there were. It runs as a process of its own, with as
//! many workers as the real one.

use std::process::Command;

use actix_web::web::{self, Bytes};
use actix_web::{App, HttpResponse, HttpServer};
use clap::Args;
use serde::Deserialize;

use crate::failure::Outcome;
use crate::process::Service;

/// As many as `weir serve` has by default.
const WORKERS: usize = 2;
const BODY_BYTES_MAX: usize = 8 << 20;

#[derive(Args, Debug)]
pub(crate) struct EchoArgs {
    /// Address and port.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: String,
}

/// A debit as a body holds it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct EchoDebit<'a> {
    camera: &'a str,
    epoch: u32,
    seq: u64,
    tokens: u64,
}

/// Serves until it is killed.
pub(crate) fn serve_echo(args: &EchoArgs) -> Outcome {
    actix_rt::System::new().block_on(async {
        let app = || {
            let bodies = web::PayloadConfig::new(BODY_BYTES_MAX);
            App::new().app_data(bodies).default_service(web::to(echo))
        };
        let server = HttpServer::new(app).workers(WORKERS).bind(&args.listen)?;
        for address in server.addrs() {
            println!("listening on http://{address}");
        }
        server.run().await?;
        Ok(())
    })
}

async fn echo(body: Bytes) -> HttpResponse {
    let Ok(debits) = serde_json::from_slice::<Vec<EchoDebit<'_>>>(&body) else {
        return HttpResponse::BadRequest().finish();
    };
    let sum = debits.iter().fold(0u64, |sum, EchoDebit { camera, epoch, seq, tokens }| {
        let all = sum.wrapping_add(u64::from(*epoch)).wrapping_add(*seq).wrapping_add(*tokens);
        std::hint::black_box(camera);
        all
    });
    std::hint::black_box(sum);
    HttpResponse::Ok().content_type("application/json").body(format!(r#"{{"parsed":{}}}"#, debits.len()))
}

/// An echo that runs; it ends with its handle.
#[derive(Debug)]
pub(crate) struct Echo {
    address: String,
    #[expect(dead_code, reason = "kept for its end: the process goes with it")]
    service: Service,
}

impl Echo {
    /// Starts one.
    pub(crate) fn start() -> Outcome<Self> {
        let service = Service::start("the echo", Command::new(std::env::current_exe()?).arg("echo"))?;
        let line = service.wait_for("listening on http://")?;
        let address = line.rsplit_once("http://").map_or("", |(_, address)| address).trim().to_owned();
        Ok(Self { address, service })
    }

    /// Its address.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }
}
