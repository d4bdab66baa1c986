import type { FaultDatabase, SavedRow } from '../faults/support/fault-database.js';
import type { FakeServer } from '../support/fake-server.js';

/**
 * The fake server in place of a database. It knows no ids of transactions, so that each request counts as
 * one.
 */
export function fakeDatabase(real: FaultDatabase, server: FakeServer): FaultDatabase {
  const rows = async (): Promise<SavedRow[]> =>
    server.saved.map((text) => {
      const key = text.slice(0, text.indexOf('/'));
      return { key, text, xid: key };
    });
  return Object.create(real, {
    url: { value: server.url },
    rows: { value: rows },
  }) as FaultDatabase;
}
