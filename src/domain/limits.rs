//! Every bound of the product, declared once. An error that reports a bound takes the number from here.

/// Longest `Idempotency-Key`, in bytes.
pub const IDEMPOTENCY_KEY_BYTES_MAX: usize = 128;
/// Most memory that the answers to requests with an `Idempotency-Key` take, in bytes.
pub const IDEMPOTENCY_BYTES_MAX: usize = 32 << 20;
/// Longest answer that is kept for a request with an `Idempotency-Key`, in bytes.
pub const IDEMPOTENCY_ANSWER_BYTES_MAX: usize = 1 << 20;
/// How long such an answer is kept, in milliseconds.
pub const IDEMPOTENCY_KEEP_MS: u64 = 24 * 60 * 60 * 1_000;
/// Longest name of a node, in bytes.
pub const NODE_BYTES_MAX: usize = 64;
/// How long a request waits for an answer of the node that owns what it is for, in milliseconds.
pub const CARRIED_WAIT_MS: u64 = 12_000;
/// Most requests that a node has carried to others at once, and most that it carries out for others.
pub const CARRIED_MAX: usize = 512;
/// Longest request that is carried, and longest answer, in bytes.
pub const CARRIED_BYTES_MAX: usize = 60 << 20;
/// Longest organization, camera, license, key or transfer identifier, in bytes.
pub const ID_BYTES_MAX: usize = 64;
/// Longest name (of an organization or a network), in bytes of UTF-8.
pub const NAME_BYTES_MAX: usize = 128;
/// Longest `event_id` of a debit, in bytes.
pub const EVENT_ID_BYTES_MAX: usize = 128;
/// Most tokens one debit may ask for.
pub const DEBIT_TOKENS_MAX: u32 = 1_000_000_000;
/// Most tokens a pool may ever receive; every total stays exact in a JSON number (2^53 - 1).
pub const POOL_TOKENS_MAX: u64 = 9_007_199_254_740_991;
/// Most thousandths of a token that one unit may cost: as much as a debit may have.
pub const RATE_MILLITOKENS_MAX: u64 = 1_000_000_000_000;
/// Most rate cards of one organization that are remembered; the newest.
pub const RATE_CARDS_MAX: usize = 64;
/// Most debits in one batch.
pub const BATCH_DEBITS_MAX: usize = 10_000;
/// Most licenses one license key may expand to.
pub const KEY_LICENSES_MAX: usize = 1_000;
/// Longest signed license key, in bytes; every key within the bounds of its licenses fits.
pub const LICENSE_KEY_BYTES_MAX: usize = 64 << 10;
/// Longest name of an issuer of license keys, in bytes: what is left of an id names the key.
pub const ISSUER_BYTES_MAX: usize = 24;
/// Most issuers of license keys a server may trust.
pub const ISSUERS_MAX: usize = 1_000;
/// Most licenses one organization may hold at once.
pub const POOL_LICENSES_MAX: usize = 20_000;
/// Most bytes that the licenses of a pool, with their history, may take to be moved at once.
pub const CARGO_BYTES_MAX: usize = 15 << 20;
/// Most cameras of one organization.
pub const POOL_CAMERAS_MAX: u32 = 4_000_000;
/// Most networks of one organization.
pub const POOL_NETWORKS_MAX: usize = 65_536;
/// Most Unlimited AI Licenses bound to one camera at once.
pub const CAMERA_BINDINGS_MAX: usize = 16;
/// Most organizations of one partition.
pub const PARTITION_ORGANIZATIONS_MAX: u32 = 1_000_000;
/// Most partitions of a data directory.
pub const PARTITIONS_MAX: u16 = 64;
/// How far ahead of the meter's clock an event's time may lie, in milliseconds (5 minutes).
pub const EVENT_AHEAD_MS_MAX: u64 = 5 * 60 * 1_000;
/// Shortest time an `event_id` is remembered, in milliseconds (1 minute).
pub const RETENTION_MS_MIN: u64 = 60 * 1_000;
/// How long an `event_id` is remembered unless configured, in milliseconds (24 hours).
pub const RETENTION_MS_DEFAULT: u64 = 24 * 60 * 60 * 1_000;
/// Longest time an `event_id` is remembered, in milliseconds (35 days).
pub const RETENTION_MS_MAX: u64 = 35 * 24 * 60 * 60 * 1_000;
/// Last representable time: the end of the year 9999, in milliseconds since the Unix epoch.
pub const TIMESTAMP_MS_MAX: u64 = 253_402_300_799_999;
/// How many sequence numbers below the highest a camera's window tells apart.
pub const SEQ_WINDOW: u64 = 64;
/// For how many of the newest sequence numbers the window also remembers the content.
pub const SEQ_CONTENT_WINDOW: u64 = 8;
/// Most API keys of a data directory.
pub const API_KEYS_MAX: usize = 100_000;
/// Most organizations one API key may name.
pub const API_KEY_ORGANIZATIONS_MAX: usize = 256;
/// Most calls without a known API key that one address makes within [`GUESSES_WINDOW_MS`] before it is told to wait.
pub const GUESSES_MAX: u32 = 100;
/// How long calls without a known API key are counted together, in milliseconds (10 seconds).
pub const GUESSES_WINDOW_MS: u64 = 10_000;
/// Most addresses whose calls without a known API key are counted.
pub const GUESSING_ADDRESSES_MAX: usize = 4_096;
/// Most sessions of the console that are open at once.
pub const SESSIONS_MAX: usize = 4_096;
/// Most sessions of the console that one API key has open at once.
pub const SESSIONS_OF_KEY_MAX: usize = 16;
/// How long a session of the console lasts without a request, in milliseconds (30 minutes).
pub const SESSION_IDLE_MS: u64 = 30 * 60 * 1_000;
/// How long a session of the console lasts, in milliseconds (12 hours).
pub const SESSION_MS: u64 = 12 * 60 * 60 * 1_000;
/// Longest form of the console, in bytes; the longest holds a license key.
pub const FORM_BYTES_MAX: u64 = 128 << 10;
/// Most streams of the console that tell live figures.
pub const LIVE_STREAMS_MAX: usize = 256;
/// Most such streams of one session.
pub const LIVE_STREAMS_OF_SESSION_MAX: usize = 4;
/// How often a stream of the console looks at the figures, in milliseconds (1 second).
pub const LIVE_PERIOD_MS: u64 = 1_000;
/// How long a node that hands a partition over waits for its snapshot at most, in milliseconds.
pub const HANDOVER_SNAPSHOT_MS: u64 = 3_000;
/// Most nodes that are asked for a page of all nodes.
pub const NODES_ASKED_MAX: usize = 256;
/// Most administrative acts that are recorded and have no outcome yet.
pub const ACTS_OPEN_MAX: usize = 16_384;
/// Most refusals of one caller that are recorded one by one within [`AUDIT_WINDOW_MS`].
pub const AUDIT_REFUSALS_MAX: u32 = 20;
/// How long refusals of one caller are counted together, in milliseconds (1 minute).
pub const AUDIT_WINDOW_MS: u64 = 60_000;
/// Most callers whose refusals are counted.
pub const AUDIT_CALLERS_MAX: usize = 4_096;
/// Most reservations of one organization that are open at once.
pub const RESERVATIONS_OPEN_MAX: usize = 10_000;
/// How many ended reservations of one organization are remembered, the newest.
pub const RESERVATIONS_ENDED_MAX: usize = 10_000;
/// Shortest time to live of a reservation, in milliseconds (1 second).
pub const RESERVATION_MS_MIN: u64 = 1_000;
/// Longest time to live of a reservation, in milliseconds (24 hours).
pub const RESERVATION_MS_MAX: u64 = 24 * 60 * 60 * 1_000;
/// Most tokens of a lease that a client spends by itself (2^40 - 1).
pub const LEASE_TOKENS_MAX: u64 = (1 << 40) - 1;
/// Most debits that a client with a lease holds until they are answered (2^22 - 1).
pub const LEASE_DEBITS_MAX: usize = (1 << 22) - 1;
/// Most thresholds of one organization.
pub const ALERTS_MAX: usize = 32;
/// Shortest time left that a threshold may be at, in milliseconds (1 minute).
pub const ALERT_TIME_MS_MIN: u64 = 60 * 1_000;
/// Longest time left that a threshold may be at, in milliseconds (366 days).
pub const ALERT_TIME_MS_MAX: u64 = 366 * 24 * 60 * 60 * 1_000;
/// Most refusals that a threshold may be at.
pub const ALERT_REFUSALS_MAX: u64 = 1_000_000_000;
/// Shortest time in which refusals are counted together, in milliseconds (1 minute).
pub const ALERT_WINDOW_MS_MIN: u64 = 60 * 1_000;
/// Longest time in which refusals are counted together, in milliseconds (24 hours).
pub const ALERT_WINDOW_MS_MAX: u64 = 24 * 60 * 60 * 1_000;
/// Most webhooks of one organization.
pub const WEBHOOKS_MAX: usize = 8;
/// Longest URL of a webhook, in bytes.
pub const WEBHOOK_URL_BYTES_MAX: usize = 1_024;
/// Longest time that a replaced secret of a webhook counts beside its successor, in milliseconds (7 days).
pub const SECRET_OVERLAP_MS_MAX: u64 = 7 * 24 * 60 * 60 * 1_000;
/// Most rows one page of a listing holds.
pub const PAGE_ROWS_MAX: usize = 1_000;
