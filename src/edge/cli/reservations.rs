//! `weir reservation`: make, list, show and release reservations.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::domain::ids::{OrgId, ReservationId};

use super::client::{OrganizationArgs, ServerArgs};
use super::failure::Failure;
use super::output::{answer, field, number_field, rows, table};

/// Make, list, show and release reservations: tokens held for work whose cost is known only afterwards.
#[derive(Debug, Subcommand)]
pub enum ReservationCommand {
    /// Hold tokens for a while (gateway).
    Make(MakeArgs),
    /// List the open reservations of an organization.
    List(OrganizationArgs),
    /// Show one reservation.
    Show(ReservationArgs),
    /// Give back what a reservation still holds (gateway or admin).
    Release(ReservationArgs),
}

/// Which reservation.
#[derive(Args, Debug)]
pub struct ReservationArgs {
    /// The organization.
    pub organization: OrgId,
    /// The reservation.
    pub reservation: ReservationId,
    /// The server.
    #[command(flatten)]
    pub server: ServerArgs,
}

/// A reservation as it is to be.
#[derive(Args, Debug)]
pub struct MakeArgs {
    /// Which reservation; the same again is answered with where it stands.
    #[command(flatten)]
    pub reservation: ReservationArgs,
    /// Tokens to hold.
    #[arg(long)]
    pub tokens: u64,
    /// Seconds after which it expires.
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    pub ttl: u64,
}

impl ReservationArgs {
    fn path(&self) -> String {
        format!("/v1/organizations/{}/reservations/{}", self.organization, self.reservation)
    }
}

/// Runs it.
pub(super) fn run(command: &ReservationCommand) -> Result<(), Failure> {
    match command {
        ReservationCommand::Make(args) => make(args),
        ReservationCommand::List(args) => {
            let path = format!("/v1/organizations/{}/reservations", args.organization);
            answer(args.server.output(), &args.server.client()?.get(&path)?, |list| {
                lines(rows(list, "reservations"))
            });
            Ok(())
        }
        ReservationCommand::Show(args) => {
            show(&args.server, &args.server.client()?.get(&args.path())?);
            Ok(())
        }
        ReservationCommand::Release(args) => {
            show(&args.server, &args.server.client()?.delete(&args.path())?);
            Ok(())
        }
    }
}

fn make(args: &MakeArgs) -> Result<(), Failure> {
    let ReservationArgs { organization, reservation, server } = &args.reservation;
    let body = json!({ "id": reservation, "tokens": args.tokens, "ttl_ms": args.ttl.saturating_mul(1_000) });
    let path = format!("/v1/organizations/{organization}/reservations");
    show(server, &server.client()?.post(&path, &body)?);
    Ok(())
}

fn show(server: &ServerArgs, reservation: &Value) {
    answer(server.output(), reservation, |reservation| lines(std::slice::from_ref(reservation)));
}

fn lines(reservations: &[Value]) -> String {
    let row = |reservation: &Value| {
        [
            field(reservation, "id"),
            field(reservation, "status"),
            number_field(reservation, "reserved"),
            number_field(reservation, "settled"),
            number_field(reservation, "held"),
            field(reservation, "expires_at"),
            field(reservation, "by"),
        ]
    };
    let cells: Vec<_> = reservations.iter().map(row).collect();
    table(["reservation", "status", "reserved", "settled", "held", "expires", "by"], &cells)
}
