//! Tests of the relay that need real services, in one binary.

#[cfg(feature = "downstream")]
mod clickhouse;
#[cfg(feature = "downstream")]
mod clickhouse_service;
mod command_line;
#[cfg(feature = "fuzzing")]
mod corpus;
#[cfg(feature = "downstream")]
mod dead_letters;
#[cfg(feature = "downstream")]
mod invalidation;
mod lease_contract;
mod lot_contract;
#[cfg(feature = "downstream")]
mod nova;
mod postgres_client;
#[cfg(feature = "downstream")]
mod redis_counts;
mod sink_contract;
mod source_contract;
mod type_mapping;
