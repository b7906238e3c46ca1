//! Stable error codes.
//!
//! A code is part of the public contract: it is never renamed, and `docs/errors.md` explains each.
//! [`Code::ALL`] is what the test that compares the code, the typings and the documentation walks over.

/// What helps against an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// The library retries by itself.
    Automatic,
    /// A person must change something: a grant, a setting, the configuration.
    Operator,
    /// Nothing will: the same input fails the same way.
    Never,
}

impl Retry {
    /// The name that JavaScript sees.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Automatic => "automatic",
            Self::Operator => "operator",
            Self::Never => "never",
        }
    }
}

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $text:literal, $retry:ident;)+) => {
        /// The stable name of a kind of failure.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Code { $($(#[$doc])* $name,)+ }

        impl Code {
            /// Every code, in the order of their declaration.
            pub const ALL: &'static [Code] = &[$(Code::$name,)+];

            /// The text that users match on.
            pub const fn as_str(self) -> &'static str {
                match self { $(Code::$name => $text,)+ }
            }

            /// What helps when nothing more is known than the code.
            pub const fn retry(self) -> Retry {
                match self { $(Code::$name => Retry::$retry,)+ }
            }
        }
    };
}

codes! {
    /// The configuration has problems; all of them are listed.
    ConfigInvalid = "ERR_STREAMER_CONFIG_INVALID", Never;
    /// The host name could not be resolved.
    HostUnknown = "ERR_STREAMER_HOST_UNKNOWN", Automatic;
    /// Nothing listens there, or the network does not reach it.
    ConnectFailed = "ERR_STREAMER_CONNECT_FAILED", Automatic;
    /// The connection broke or fell silent for longer than the heartbeat timeout.
    ConnectionLost = "ERR_STREAMER_CONNECTION_LOST", Automatic;
    /// No answer within the deadline.
    Timeout = "ERR_STREAMER_TIMEOUT", Automatic;
    /// What answers there does not speak the expected protocol.
    ProtocolUnexpected = "ERR_STREAMER_PROTOCOL_UNEXPECTED", Operator;
    /// The server offers no TLS although the configuration asks for it.
    TlsUnavailable = "ERR_STREAMER_TLS_UNAVAILABLE", Operator;
    /// The server's certificate is not trusted, has expired, or names another host.
    TlsCertificateRejected = "ERR_STREAMER_TLS_CERTIFICATE_REJECTED", Operator;
    /// The TLS handshake failed for another reason.
    TlsFailed = "ERR_STREAMER_TLS_FAILED", Operator;
    /// User, password or authentication method was refused.
    AuthRejected = "ERR_STREAMER_AUTH_REJECTED", Operator;
    /// The database does not exist or the user may not see it.
    DatabaseUnknown = "ERR_STREAMER_DATABASE_UNKNOWN", Operator;
    /// The file is no database, or is damaged.
    DatabaseInvalid = "ERR_STREAMER_DATABASE_INVALID", Operator;
    /// The database cannot be written, which capture needs.
    DatabaseReadOnly = "ERR_STREAMER_DATABASE_READ_ONLY", Operator;
    /// No table matches the `tables` option.
    TableUnknown = "ERR_STREAMER_TABLE_UNKNOWN", Operator;
    /// A table has no column by which it can be polled, or only its new rows can be seen.
    TableUnpollable = "ERR_STREAMER_TABLE_UNPOLLABLE", Operator;
    /// A grant that capture needs is missing.
    GrantMissing = "ERR_STREAMER_GRANT_MISSING", Operator;
    /// A server setting that capture needs is different.
    ServerSettingUnsuitable = "ERR_STREAMER_SERVER_SETTING_UNSUITABLE", Operator;
    /// The server's version is too old.
    ServerUnsupported = "ERR_STREAMER_SERVER_UNSUPPORTED", Operator;
    /// The server has too many connections or is shutting down or starting.
    ServerBusy = "ERR_STREAMER_SERVER_BUSY", Automatic;
    /// Another reader uses the same server id.
    ServerIdTaken = "ERR_STREAMER_SERVER_ID_TAKEN", Operator;
    /// The server is a replica whose replication stands still.
    ReplicaStalled = "ERR_STREAMER_REPLICA_STALLED", Operator;
    /// A position could not be parsed, or belongs to another kind of source.
    PositionInvalid = "ERR_STREAMER_POSITION_INVALID", Never;
    /// The log no longer holds the position.
    PositionLost = "ERR_STREAMER_POSITION_LOST", Operator;
    /// A checkpoint cannot be read or written.
    CheckpointFailed = "ERR_STREAMER_CHECKPOINT_FAILED", Automatic;
    /// A checkpoint is damaged, of a later version, or of another source.
    CheckpointInvalid = "ERR_STREAMER_CHECKPOINT_INVALID", Operator;
    /// Another process uses the checkpoint.
    CheckpointLocked = "ERR_STREAMER_CHECKPOINT_LOCKED", Operator;
    /// The log holds bytes that cannot be decoded with certainty.
    LogUndecodable = "ERR_STREAMER_LOG_UNDECODABLE", Operator;
    /// Bytes of the log do not match their checksum.
    LogCorrupt = "ERR_STREAMER_LOG_CORRUPT", Automatic;
    /// The server refused a statement.
    ServerRefused = "ERR_STREAMER_SERVER_REFUSED", Operator;
    /// A limit of this library was reached.
    LimitExceeded = "ERR_STREAMER_LIMIT_EXCEEDED", Operator;
    /// The streamer has been stopped.
    Stopped = "ERR_STREAMER_STOPPED", Never;
    /// A listener threw or its promise was rejected.
    HandlerFailed = "ERR_STREAMER_HANDLER_FAILED", Operator;
    /// A call was made in the wrong way (a wrong type of argument, say).
    ArgumentInvalid = "ERR_STREAMER_ARGUMENT_INVALID", Never;
    /// The native addon could not be loaded on this platform.
    AddonMissing = "ERR_STREAMER_ADDON_MISSING", Operator;
    /// The native addon is of another version than the JavaScript beside it.
    AddonMismatched = "ERR_STREAMER_ADDON_MISMATCHED", Operator;
    /// A JavaScript package that a kind of source needs is not installed.
    PackageMissing = "ERR_STREAMER_PACKAGE_MISSING", Operator;
    /// A defect of this library.
    Internal = "ERR_STREAMER_INTERNAL", Never;
}
