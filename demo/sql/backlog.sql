-- Fills the outbox with transactions of one event each: the shape of a real outbox, and the hardest one for a relay.
-- `commit` inside a procedure spares a round trip for each transaction; the log is the same as if clients had written them.

create procedure fill_outbox(events bigint) language plpgsql as $$
begin
    for event in 1..events loop
        insert into outbox_events (id, aggregate_type, aggregate_id, event_type, payload, headers)
        values (
            gen_random_uuid(),
            'order',
            'customer-' || event % 50000,
            'OrderPlaced',
            jsonb_build_object(
                'n', event,
                'customer', 'customer-' || event % 50000,
                'total_cents', event * 37 % 100000,
                'currency', 'EUR',
                'note', 'leave it with the neighbour across the yard if nobody answers the door, thank you',
                'lines', jsonb_build_array('saddle', 'lantern', 'letter', 'seal', 'horn')
            ),
            jsonb_build_object('correlation-id', md5(event::text))
        );
        commit;
    end loop;
end
$$;
