//! The listening socket and the threads behind it.
//!
//! actix runs in a thread of its own, with its own workers: the program's main runtime stays free of it. Signals
//! are not handled here; whoever started the listener stops it. The console is served beside the interface, where it is on. What other
//! nodes carry here is answered on that thread by the same service, without a connection.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use actix_service::IntoServiceFactory as _;
use actix_web::body::MessageBody;
use actix_web::dev::{AppConfig, Server, ServerHandle, ServiceFactory, ServiceRequest, ServiceResponse};
use actix_web::middleware::from_fn;
use actix_web::{App, HttpServer, web};
use tokio::sync::mpsc::Receiver;

use crate::config::Config;
use crate::edge::console::{self, Console};
use crate::edge::tls::Tls;

use super::carried::{self, Carried, Inbox};
use super::seat;
use super::state::State;

/// A listening HTTP server.
#[derive(Debug)]
pub struct Listener {
    address: SocketAddr,
    handle: ServerHandle,
    thread: JoinHandle<io::Result<()>>,
    console: Option<Arc<Console>>,
    inbox: Inbox,
}

impl Listener {
    /// Binds the configured address and serves, encrypted where there is a certificate.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub fn start(config: &Config, state: &Arc<State>, tls: Option<Tls>) -> io::Result<Self> {
        let (bound, started) = sync_channel(1);
        let (config, state) = (config.clone(), Arc::clone(state));
        let console = config.console.then(|| Arc::new(Console::new(&config)));
        let for_apps = console.clone();
        let (inbox, carried) = Inbox::new();
        let thread = std::thread::Builder::new()
            .name("weir-http".to_owned())
            .spawn(move || run(&config, (&state, for_apps.as_ref()), tls.as_ref(), (&bound, carried)))?;
        let (address, handle) =
            started.recv().unwrap_or_else(|_| Err(io::Error::other("the http thread ended early")))?;
        Ok(Self { address, handle, thread, console, inbox })
    }

    /// The way in for requests that other nodes carry here.
    #[must_use]
    pub fn inbox(&self) -> Inbox {
        self.inbox.clone()
    }

    /// The address that it listens on.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Accepts nothing more, finishes the requests in flight as long as the configuration grants, and ends.
    ///
    /// # Errors
    /// When the server failed before it was stopped.
    pub async fn stop(self) -> io::Result<()> {
        if let Some(console) = &self.console {
            console.stop();
        }
        self.handle.stop(true).await;
        self.thread.join().unwrap_or_else(|_| Err(io::Error::other("the http thread panicked")))
    }
}

/// What the requests share: of the interface, and of the console where it is on.
type Shared<'a> = (&'a Arc<State>, Option<&'a Arc<Console>>);
type Started = io::Result<(SocketAddr, ServerHandle)>;

fn run(
    config: &Config,
    shared: Shared<'_>,
    tls: Option<&Tls>,
    (bound, carried): (&SyncSender<Started>, Receiver<Carried>),
) -> io::Result<()> {
    actix_rt::System::new().block_on(async {
        let (address, server) = match bind(config, shared, tls) {
            Ok(both) => both,
            Err(error) => {
                drop(bound.send(Err(error)));
                return Ok(());
            }
        };
        let service = app(Arc::clone(shared.0), shared.1.cloned()).into_factory();
        if let Ok(service) = service.new_service(AppConfig::default()).await {
            actix_rt::spawn(carried::serve(service, carried));
        }
        drop(bound.send(Ok((address, server.handle()))));
        server.await
    })
}

/// All that is answered, for connections and for what other nodes carry here.
fn app(
    state: Arc<State>,
    console: Option<Arc<Console>>,
) -> App<
    impl ServiceFactory<
        ServiceRequest,
        Config = (),
        Response = ServiceResponse<impl MessageBody + 'static>,
        Error = actix_web::Error,
        InitError = (),
    > + 'static,
> {
    App::new()
        .app_data(web::Data::from(state))
        .wrap(from_fn(seat::guard))
        .wrap(from_fn(super::unread::close))
        .configure(super::register)
        .configure(|services| {
            if let Some(console) = console {
                services.app_data(web::Data::from(console));
                console::register(services);
            }
        })
}

fn bind(
    config: &Config,
    (state, console): Shared<'_>,
    tls: Option<&Tls>,
) -> io::Result<(SocketAddr, Server)> {
    let (for_apps, for_seats, console) = (Arc::clone(state), Arc::clone(state), console.cloned());
    let app = move || app(Arc::clone(&for_apps), console.clone());
    let request_timeout = Duration::from_millis(config.request_timeout_ms);
    let connections_max = seat::accepted(state.connections_max()).div_ceil(config.workers);
    let server = HttpServer::new(app)
        .on_connect(move |connection, extensions| seat::take(&for_seats, connection, extensions))
        .workers(config.workers)
        .max_connections(connections_max)
        // Handshakes that are not finished hold up nobody else.
        .max_connection_rate(connections_max)
        .keep_alive(Duration::from_millis(config.keep_alive_ms))
        .client_request_timeout(request_timeout)
        .client_disconnect_timeout(request_timeout)
        .shutdown_timeout(config.stop_timeout_ms.div_ceil(1_000))
        .tcp_nodelay(true)
        .tls_handshake_timeout(request_timeout)
        .disable_signals();
    let server = match tls {
        None => server.bind(config.listen)?,
        // What it speaks is said by actix.
        Some(tls) => server.bind_rustls_0_23(config.listen, tls.server_config(&[]))?,
    };
    let address = server.addrs().first().copied().ok_or_else(|| io::Error::other("nothing was bound"))?;
    Ok((address, server.run()))
}
