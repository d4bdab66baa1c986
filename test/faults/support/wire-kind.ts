import { join } from 'node:path';

import { encrypt } from '../../support/encryption.js';
import { WireProxy, type WireOptions } from '../../support/wire-proxy.js';
import type { FaultDatabase } from './fault-database.js';

/** What the wire between the application and the server is made of, see `npm run test:faults:tls`. */
type WireKind = 'tcp' | 'tls' | 'socket';

const KIND = (process.env['DB_CONTEXT_FAULT_WIRE'] ?? 'tcp') as WireKind;

/**
 * What a server of these tests is started with besides: a Unix socket, in its data directory. The global
 * setup does the same, from which this cannot be imported.
 */
export const SERVER_SETTINGS = KIND === 'socket' ? ['unix_socket_directories=.'] : [];

/** The wire to a database, and the options of pg with which an application uses it. */
export interface FaultWire {
  readonly proxy: WireProxy;
  readonly driverOptions: { readonly ssl?: { readonly ca: string } };
}

/** Starts the wire between an application and its database. */
export async function startWire({ url, database }: FaultDatabase): Promise<FaultWire> {
  const options = await wireOptions(database);
  const { tls } = options;
  return {
    proxy: await WireProxy.start(url, options),
    driverOptions: tls === undefined ? {} : { ssl: { ca: tls.cert } },
  };
}

async function wireOptions(database: FaultDatabase['database']): Promise<WireOptions> {
  switch (KIND) {
    case 'tcp':
      return {};
    case 'tls':
      return { tls: await encrypt(database.url) };
    case 'socket': {
      const [row] = await database.query<{ data: string; sockets: string }>(
        `select current_setting('data_directory') as data,
                current_setting('unix_socket_directories') as sockets`,
      );
      return { socketDirectory: join(row!.data, row!.sockets) };
    }
  }
}
