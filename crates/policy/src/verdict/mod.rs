//! What becomes of a connection: the one definition of what the mesh allows.
//!
//! Decides, from the baseline and all policies, whether a connection is allowed, which rule says
//! so and which were passed over. Admission, audit and the proxies' configuration all ask here.
//! Refuses to know where policies come from, which workloads exist, and what time it is.
//!
//! The order of the decision, from [`PolicySet::verdict`]:
//! 1. TLS below the floor, or no mutual TLS where no plaintext is let in: refused;
//! 2. a Deny rule of an enforced policy that selects the destination matches: refused;
//! 3. no enforced policy selects the destination: the baseline's default;
//! 4. an Allow rule matches: allowed; otherwise refused.
//!
//! Where plaintext is let in is for each policy to say for itself: an Allow rule by address holds
//! only on ports that its own policy makes permissive, so that one policy's exception and another
//! one's rule never add up to what neither grants.

mod connection;
mod decision;
mod effective;
mod matching;
mod set;

pub use connection::{Account, Connection, Identity, Peer, TlsState, Version, Workload};
pub use decision::{Allowed, Audited, Decision, PassedOver, Refused, RuleRef, Verdict, Why};
pub use effective::{EffectivePolicy, EffectiveRule, Matches, UNREADABLE_POLICY};
pub use matching::Mismatch;
pub use set::PolicySet;
