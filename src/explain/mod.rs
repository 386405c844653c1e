//! Why a request goes where it goes: for operators, of a file or of a running Weir.
//!
//! What is said is what happens: the decisions are those of [`proxy`](crate::proxy) and
//! [`router`](crate::router), which are asked with a request that no client has sent. Nothing is sent
//! to a target, counted or limited.
//!
//! [`explain`] answers a [`Question`]; [`compare`] asks about a line of the access log whether it
//! would come out the same. [`offline`] makes the snapshot of a file, which knows no health.

mod answer;
mod listener;
mod offline;
mod question;
mod record;
mod targets;
mod words;

pub use answer::{
    Action, Explanation, ForwardAction, GroupAnswer, Message, Response, Skipped, explain,
};
pub use offline::offline;
pub use question::{Question, QuestionError};
pub use record::{Comparison, Logged, Verdict, compare};
pub use targets::TargetAnswer;
