# The relay alone: built with the whole toolchain, run without it, by a user who owns nothing.
FROM rust:1.95-bookworm AS build
WORKDIR /source
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/source/target \
    cargo build --release --locked --package postrider-relay --bin postrider \
    && install -D target/release/postrider /out/postrider

FROM debian:bookworm-slim
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin postrider
COPY --from=build /out/postrider /usr/local/bin/postrider
USER 10001
WORKDIR /etc/postrider
# Metrics, health and status; postrider.toml is read from the working directory.
EXPOSE 8432
STOPSIGNAL SIGTERM
ENTRYPOINT ["postrider"]
CMD ["run"]
