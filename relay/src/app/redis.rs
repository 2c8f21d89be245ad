//! From the configuration's `[redis]` and `[invalidate]` to the options of what uses them.

use std::sync::Arc;

use crate::app::postgres;
use crate::config::invalidate::{Rule, Strategy};
use crate::config::redis;
use crate::config::worker::InvalidateConfig;
use crate::pipeline::{End, Error, Kind};
use crate::postgres::options::Secret;
use crate::shape::rules::Rules;
use crate::shape::rules::options::{Does, RuleOptions};
use crate::shape::rules::page::PageName;
use crate::sinks::redis::audit::{Audit, AuditOptions};
use crate::sinks::redis::{InvalidatorOptions, OnceOptions, Password, RedisOptions, RedisTls};

/// How Redis is reached.
pub(super) fn options(config: &redis::Redis) -> RedisOptions {
    let tls = |tls: &redis::Tls| RedisTls { ca_file: tls.ca_file.clone(), identity: tls.identity.clone() };
    RedisOptions {
        servers: config.servers.clone(),
        cluster: config.cluster,
        database: i64::from(config.database),
        tls: config.tls.as_ref().map(tls),
        user: config.user.clone(),
        password: config.password.as_ref().map(|password| match password {
            redis::Password::Given(secret) => Password::Given(Secret::new(secret.expose())),
            redis::Password::File(path) => Password::File(path.clone()),
        }),
        connect_timeout: config.connect_timeout,
        timeout: config.timeout,
    }
}

/// What the invalidator does, its rules checked.
///
/// # Errors
/// Every rule that cannot be applied, and why.
pub(super) fn invalidator(config: &InvalidateConfig) -> Result<InvalidatorOptions, Error> {
    let rules: Vec<RuleOptions> = config.invalidate.rules.iter().map(rule).collect();
    let rules = Rules::compile(&rules, config.redis.cluster).map_err(|wrong| {
        let wrong: Vec<String> = wrong.iter().map(ToString::to_string).collect();
        Error::new(End::Sink, Kind::Setup, format!("rules cannot be applied: {}", wrong.join("; ")))
            .with_help("docs/invalidation.md shows what conditions and templates may look like.")
    })?;
    Ok(InvalidatorOptions {
        redis: options(&config.redis),
        rules: Arc::new(rules),
        second_pass: config.invalidate.second_pass,
        pending_bytes_max: usize::try_from(config.invalidate.pending_bytes_max).unwrap_or(usize::MAX),
        sweep_keys_per_second: config.invalidate.sweep_keys_per_second,
        postgres: config.postgres.as_ref().map(|config| postgres::options(config, false)),
    })
}

/// What is left out, and where that is remembered.
pub(super) fn once(config: &InvalidateConfig) -> OnceOptions {
    OnceOptions {
        redis: options(&config.redis),
        topics: config.invalidate.deduplicate.iter().map(|topic| topic.as_str().into()).collect(),
        remember: config.invalidate.remember,
    }
}

/// What is audited; `None` if nothing is.
///
/// # Errors
/// A pattern of pages, or a tag, that cannot be read.
pub(super) fn audit(config: &InvalidateConfig) -> Result<Option<AuditOptions>, Error> {
    let wrong = |name: &str, key: &str, why: String| {
        Error::new(End::Sink, Kind::Setup, format!("`invalidate.audits.{name}.{key}` {why}"))
    };
    let audits = config.invalidate.audits.iter().map(|audit| {
        let read = |key, written| PageName::parse(written).map_err(|why| wrong(&audit.name, key, why));
        let (pages, tag) = (read("pages", &audit.pages)?, read("tag", &audit.tag)?);
        let known: Vec<&str> = pages.names().collect();
        for (key, name) in tag
            .names()
            .map(|name| ("tag", name))
            .chain(audit.parameters.iter().map(|name| ("parameters", name.as_str())))
        {
            if !known.contains(&name) {
                return Err(wrong(&audit.name, key, format!("names the field `{name}`, which `pages` does not have")));
            }
        }
        let (name, query, parameters) = (audit.name.clone(), audit.query.clone(), audit.parameters.clone());
        Ok(Audit { name, pages, tag, query, parameters })
    });
    let audits: Vec<Audit> = audits.collect::<Result<_, Error>>()?;
    if audits.is_empty() {
        return Ok(None);
    }
    Ok(Some(AuditOptions {
        redis: options(&config.redis),
        postgres: config.postgres.as_ref().map(|config| postgres::options(config, false)),
        every: config.invalidate.audit_interval,
        pages: usize::try_from(config.invalidate.audit_pages).unwrap_or(usize::MAX),
        audits,
    }))
}

fn rule(rule: &Rule) -> RuleOptions {
    let Rule {
        name,
        topic,
        when,
        strategy,
        targets,
        query,
        parameters,
        kept,
        key,
        member,
        present,
        weight,
        window,
        bucket,
        top,
        ttl,
        members_max,
    } = rule.clone();
    let does = match strategy {
        Strategy::Generation => Does::Generation,
        Strategy::Tags => Does::Tags,
        Strategy::Keys => Does::Keys,
        Strategy::Pattern => Does::Pattern,
        Strategy::Keep => Does::Keep,
        Strategy::Add => Does::Add,
        Strategy::Score => Does::Score,
    };
    RuleOptions {
        name,
        topic,
        when,
        does,
        targets,
        query,
        parameters,
        kept,
        key,
        member,
        present,
        weight,
        window,
        bucket,
        top,
        ttl,
        members_max,
    }
}
