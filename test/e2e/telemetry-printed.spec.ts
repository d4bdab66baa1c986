import { serialize } from 'node:v8';
import { inspect } from 'node:util';
import { TransactionPropagation, wrap } from '@mikro-orm/postgresql';
import { dbContextChannels, UNMASKED, type EventChannel } from 'nestjs-db-context/telemetry';

import { Note } from '../support/note.entity.js';
import { startWorld } from '../support/test-world.js';
import { useWorld } from '../support/use-world.js';

const SECRET = 'sesame';
const at = useWorld(() => startWorld({ poolMax: 2 }, { watch: false }));

const CHANNELS: readonly EventChannel<object>[] = Object.values(dbContextChannels).flatMap(
  (each: object) => ('start' in each ? Object.values(each) : [each]) as EventChannel<object>[],
);

/** All events of `work`, with the names of their channels. */
async function eventsOf(work: () => Promise<void>): Promise<Map<string, object[]>> {
  const seen = new Map<string, object[]>();
  const stops = CHANNELS.map((channel) => {
    const keep = (event: object): void => {
      const name = String(channel.name);
      seen.set(name, [...(seen.get(name) ?? []), event]);
    };
    channel.subscribe(keep);
    return () => channel.unsubscribe(keep);
  });
  try {
    await work();
  } finally {
    stops.forEach((stop) => stop());
  }
  return seen;
}

async function useEverything(): Promise<void> {
  await at.run(() => at.session.execute(`select '${SECRET}'`));
  await at.run(() => at.session.execute(`select '${SECRET}'::int`)).catch(() => undefined);
  await at.run(async () => {
    const failed = at.session.transactional((em) => em.execute(`select '${SECRET}'::int`));
    await failed.catch(() => undefined);
    await at.session.fork().find(Note, { text: SECRET });
    await at.dbContext.withClient((client) => client.query('select $1::text', [SECRET]));
    await at.session.transactional((em) => em.execute(`select '${SECRET}'`), {
      propagation: TransactionPropagation.NOT_SUPPORTED,
    });
    at.dbContext.onCommit(() => undefined);
    at.session.persist(new Note(SECRET));
  });
  await at
    .run(async () => {
      const note = await at.session.findOneOrFail(Note, { text: SECRET });
      await at.session.insert(Note, wrap(note).toPOJO());
    })
    .catch(() => undefined);
  await at
    .run(async () => {
      await at.session.execute(`select '${SECRET}'::int`).catch(() => undefined);
    })
    .catch(() => undefined);
}

describe('O1: an event that somebody prints', () => {
  let events: Map<string, object[]>;

  beforeAll(async () => {
    events = await eventsOf(useEverything);
  });

  it.each([
    ['util.inspect(), as console.log() does', (event: object) => inspect(event, { depth: 10 })],
    ['a spread', (event: object) => inspect({ ...event }, { depth: 10 })],
    ['Object.assign()', (event: object) => inspect(Object.assign({}, event), { depth: 10 })],
    ['JSON', (event: object) => JSON.stringify(event)],
    ['v8.serialize()', (event: object) => serialize(event).toString('latin1')],
  ])('shows no value: %s', (_, print) => {
    const shown = [...events].filter(([, each]) =>
      each.some((event) => print(event).includes(SECRET)),
    );
    expect(shown.map(([name]) => name)).toEqual([]);
  });

  it('has its values behind the symbol all the same', () => {
    const unmasked = (name: string): string =>
      inspect(
        events.get(name)!.map((event) => (event as { [UNMASKED]: unknown })[UNMASKED]),
        { depth: 4 },
      );
    for (const name of ['context:end', 'transaction:end']) {
      expect(unmasked(`nestjs-db-context:${name}`)).toContain(SECRET);
    }
    expect(unmasked('tracing:nestjs-db-context:statement:start')).toContain(SECRET);
    expect([...events.keys()].length).toBeGreaterThan(18);
  });
});
