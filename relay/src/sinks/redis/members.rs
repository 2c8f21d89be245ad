//! Members to fan out over: asked of Postgres, many questions at a time, or read from kept sets.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use redis::{Cmd, Value, cmd};
use tokio::time::timeout;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::private::BytesMut;
use tokio_postgres::types::{Format, IsNull, ToSql, Type, to_sql_checked};
use tokio_postgres::{Client, Statement};

use crate::pipeline::{End, Error, Kind};
use crate::postgres::options::ConnectOptions;
use crate::postgres::session;
use crate::shape::rules::effects::Fan;
use crate::shape::rules::{Action, FanOut, Rules};
use crate::sinks::redis::keys;
use crate::sinks::redis::wire::{Wire, text};

/// Nothing is ever written over this session, and no question may take for ever.
const PREPARE: &str = "
set default_transaction_read_only = on;
set statement_timeout = '10s'";

/// How long the questions of one batch may take before the server counts as away.
const ANSWERS_MAX: Duration = Duration::from_secs(15);

/// Fields that one step through a kept set reads, about.
const SCAN_COUNT: u32 = 1000;

/// What a fan-out is over: the rule, and the parameters or the set's name.
pub(super) type Question = (usize, Vec<String>);

/// The answer: members, or why this question cannot be answered whoever asks.
pub(super) type Answer = Result<Vec<String>, String>;

/// Who is asked for members.
pub(super) struct Members {
    rules: Arc<Rules>,
    postgres: Option<ConnectOptions>,
    session: Option<Session>,
}

struct Session {
    client: Client,
    statements: HashMap<usize, Statement>,
}

impl Members {
    pub(super) fn new(rules: Arc<Rules>, postgres: Option<ConnectOptions>) -> Self {
        Self { rules, postgres, session: None }
    }

    /// Answers every question of a batch, each once.
    pub(super) async fn answer(&mut self, fans: &[&Fan], wire: &mut Wire) -> Result<HashMap<Question, Answer>, Error> {
        let mut questions: Vec<Question> = fans.iter().map(|fan| (fan.rule, fan.of.clone())).collect();
        questions.sort();
        questions.dedup();
        let rules = Arc::clone(&self.rules);
        let (mut queries, mut sets) = (Vec::new(), Vec::new());
        for question in questions {
            match rules.all().get(question.0).map(|rule| &rule.action) {
                Some(Action::Forget { fan_out: Some(FanOut::Query { query, .. }), .. }) => {
                    queries.push((question, query));
                }
                Some(Action::Forget { fan_out: Some(FanOut::Kept { keeper, .. }), .. }) => {
                    let keeper = rules.all().get(*keeper).map(|rule| Arc::clone(&rule.name)).unwrap_or_default();
                    let key = question.1.first().map(|set| keys::kept(&keeper, set)).unwrap_or_default();
                    sets.push((question, key));
                }
                _ => {}
            }
        }
        let mut answers = HashMap::new();
        if !queries.is_empty() {
            self.ask(queries, &mut answers).await?;
        }
        read_sets(sets, wire, &mut answers).await?;
        Ok(answers)
    }

    async fn ask(
        &mut self,
        queries: Vec<(Question, &String)>,
        answers: &mut HashMap<Question, Answer>,
    ) -> Result<(), Error> {
        let outcome = match timeout(ANSWERS_MAX, self.ask_all(queries, answers)).await {
            Ok(outcome) => outcome,
            Err(_) => {
                let context = format!("Postgres does not answer the fan-out within {} s", ANSWERS_MAX.as_secs());
                Err(Error::new(End::Sink, Kind::Unavailable, context))
            }
        };
        if outcome.is_err() {
            self.session = None;
        }
        outcome
    }

    async fn ask_all(
        &mut self,
        queries: Vec<(Question, &String)>,
        answers: &mut HashMap<Question, Answer>,
    ) -> Result<(), Error> {
        let session = self.session().await?;
        for ((rule, _), query) in &queries {
            session.prepare(*rule, query).await?;
        }
        let session = &*session;
        let each = queries.into_iter().map(|(question, _)| async move {
            let answer = session.query(&question).await;
            (question, answer)
        });
        for (question, answer) in join_all(each).await {
            answers.insert(question, answer?);
        }
        Ok(())
    }

    async fn session(&mut self) -> Result<&mut Session, Error> {
        if self.session.as_ref().is_none_or(|session| session.client.is_closed()) {
            let options = self.postgres.as_ref().ok_or_else(|| {
                Error::new(End::Sink, Kind::Setup, "a rule has a query, and there is no database to ask")
                    .with_help("Write a section [postgres].")
            })?;
            let client = session::connect(options).await.map_err(|error| unreachable(options, error))?;
            client.batch_execute(PREPARE).await.map_err(|error| failed("prepare the session", &error))?;
            self.session = Some(Session { client, statements: HashMap::new() });
        }
        self.session.as_mut().ok_or_else(|| Error::new(End::Sink, Kind::Broken, "the session went away"))
    }
}

impl Session {
    async fn prepare(&mut self, rule: usize, query: &str) -> Result<(), Error> {
        if self.statements.contains_key(&rule) {
            return Ok(());
        }
        let statement = self.client.prepare(query).await.map_err(|error| failed("prepare a rule's query", &error))?;
        let is_text = |of: &Type| [Type::TEXT, Type::VARCHAR, Type::BPCHAR, Type::NAME].contains(of);
        if !statement.columns().first().is_some_and(|column| is_text(column.type_())) {
            return Err(Error::new(End::Sink, Kind::Setup, "the first column of a rule's query is no text")
                .with_help("Cast it: select follower_id::text …"));
        }
        self.statements.insert(rule, statement);
        Ok(())
    }

    async fn query(&self, (rule, parameters): &Question) -> Result<Answer, Error> {
        let Some(statement) = self.statements.get(rule) else { return Ok(Ok(Vec::new())) };
        let parameters: Vec<Parameter<'_>> = parameters.iter().map(|text| Parameter(text)).collect();
        let parameters: Vec<&(dyn ToSql + Sync)> = parameters.iter().map(|one| one as _).collect();
        match self.client.query(statement, &parameters).await {
            Ok(rows) => {
                let members = rows.iter().filter_map(|row| row.try_get::<_, Option<String>>(0).ok().flatten());
                Ok(Ok(members.collect()))
            }
            // Class 22: the parameter is not what its type can be, whoever asks.
            Err(error) if error.code().is_some_and(|code| code.code().starts_with("22")) => {
                let code = error.code().map(SqlState::code).unwrap_or_default();
                Ok(Err(format!("its query does not take the parameters that the record gives (SQLSTATE {code})")))
            }
            Err(error) => Err(failed("ask for the members of a fan-out", &error)),
        }
    }
}

/// A parameter as text, whatever type the query gives it.
#[derive(Debug)]
pub(super) struct Parameter<'a>(pub(super) &'a str);

impl ToSql for Parameter<'_> {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        out.extend_from_slice(self.0.as_bytes());
        Ok(IsNull::No)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    fn encode_format(&self, _: &Type) -> Format {
        Format::Text
    }

    to_sql_checked!();
}

/// Reads kept sets step by step, all of them at the same time: a set of a million members blocks nobody.
async fn read_sets(
    sets: Vec<(Question, String)>,
    wire: &mut Wire,
    answers: &mut HashMap<Question, Answer>,
) -> Result<(), Error> {
    let mut open: Vec<(Question, String, String, Vec<String>)> =
        sets.into_iter().map(|(question, key)| (question, key, "0".to_owned(), Vec::new())).collect();
    while !open.is_empty() {
        let commands: Vec<Cmd> = open.iter().map(|(_, key, cursor, _)| scan(key, cursor)).collect();
        let values = wire.run("read a kept set", &commands).await?;
        let mut further = Vec::new();
        for ((question, key, _, mut members), value) in open.into_iter().zip(values) {
            let cursor = take(&value, &mut members);
            if cursor == "0" {
                members.sort();
                members.dedup();
                answers.insert(question, Ok(members));
            } else {
                further.push((question, key, cursor, members));
            }
        }
        open = further;
    }
    Ok(())
}

fn scan(key: &str, cursor: &str) -> Cmd {
    let mut command = cmd("HSCAN");
    command.arg(key).arg(cursor).arg("COUNT").arg(SCAN_COUNT);
    command
}

/// Takes the live members of a step; the cursor of the next.
fn take(value: &Value, members: &mut Vec<String>) -> String {
    let Some([cursor, fields]) = value.as_sequence() else { return "0".to_owned() };
    for pair in fields.as_sequence().unwrap_or_default().chunks(2) {
        let [member, state] = pair else { continue };
        if let (Some(member), Value::BulkString(state)) = (text(member), state)
            && state.last() == Some(&b'+')
        {
            members.push(member);
        }
    }
    text(cursor).unwrap_or_else(|| "0".to_owned())
}

fn unreachable(options: &ConnectOptions, error: crate::postgres::error::Error) -> Error {
    if let Some((context, help)) = error.barred(&options.user) {
        return Error::new(End::Sink, Kind::Setup, context).because(error).with_help(help);
    }
    let (kind, context) = match error.kind() {
        crate::postgres::error::Kind::Rejected => (Kind::Setup, "Postgres refused a session for fan-out queries"),
        _ => (Kind::Unavailable, "Postgres cannot be reached for fan-out queries"),
    };
    Error::new(End::Sink, kind, context).because(error)
}

/// What a question's error means. A report's detail may quote a row: only its code and message are told, and the message only
/// where it is about the query.
fn failed(action: &str, error: &tokio_postgres::Error) -> Error {
    let context = format!("cannot {action}");
    let Some(report) = error.as_db_error() else {
        return Error::new(End::Sink, Kind::Unavailable, context).because(error.to_string());
    };
    let code = report.code().code();
    let told = format!("{} (SQLSTATE {code})", report.message());
    match &code[..2] {
        "42" | "25" | "28" | "0A" => Error::new(End::Sink, Kind::Setup, context).because(told).with_help(
            "Mend the query of the rule in [invalidate.rules], or give the role of [postgres] SELECT on what it reads.",
        ),
        _ => Error::new(End::Sink, Kind::Unavailable, context).because(format!("SQLSTATE {code}")),
    }
}
