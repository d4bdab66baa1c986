import { NestFactory } from '@nestjs/core';
import { Client } from 'pg';

import { HOST } from '../starter/port.js';
import { ErrorLog } from './error-log.js';
import type { Program, Sent } from './programs.js';

/** Ada has booked seat 1A before. */
const TABLES = `
  drop table if exists booking, guest;
  create table booking (id serial primary key, seat text not null unique);
  create table guest (id serial primary key, name text not null unique);
  insert into booking (seat) values ('1A');
  insert into guest (name) values ('Ada');
`;
const ROWS = `
  select array(select seat from booking order by id) as seats,
         array(select name from guest order by id) as guests
`;

/**
 * Starts a program on a database of fresh tables, sends its request, and looks.
 *
 * @param databaseUrl whose tables are dropped
 * @returns what the client was answered, what is in the tables, and which errors are in the log, a line each
 */
export async function runProgram(
  { module, controller, sent }: Program,
  databaseUrl: string,
): Promise<string> {
  const database = new Client({ connectionString: databaseUrl });
  await database.connect();
  try {
    await database.query(TABLES);
    const logger = new ErrorLog();
    const app = await NestFactory.create(module, { logger });
    const background = recordCalls(app.get<object>(controller));
    await app.listen(0, HOST);
    const answer = await send(await app.getUrl(), sent);
    // The client has its answer, and work that nobody waits for may still go on.
    await Promise.allSettled(background);
    // Waits for what is still under way on the connections.
    await app.close();
    const { rows } = await database.query<{ seats: string[]; guests: string[] }>(ROWS);
    return [
      `${sent.method} ${sent.path} ${JSON.stringify(sent.body)} -> ${answer}`,
      `bookings: ${rows[0]!.seats.join(', ')}`,
      `guests:   ${rows[0]!.guests.join(', ')}`,
      `errors:   ${logger.errors.join(', ') || 'none'}`,
    ].join('\n');
  } finally {
    await database.end();
  }
}

async function send(url: string, { method, path, body }: Sent): Promise<string> {
  const response = await fetch(url + path, {
    method,
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body),
  });
  return `${response.status} ${await response.text()}`;
}

/** The promises of all calls of the methods of an object, handlers and what they call. */
function recordCalls(target: object): Promise<unknown>[] {
  const calls: Promise<unknown>[] = [];
  const prototype = Object.getPrototypeOf(target) as Record<string, unknown>;
  for (const name of Object.getOwnPropertyNames(prototype)) {
    const method = prototype[name];
    if (name !== 'constructor' && typeof method === 'function') {
      Object.defineProperty(target, name, {
        value: (...args: unknown[]) => {
          const result = Reflect.apply(method, target, args) as Promise<unknown>;
          calls.push(result);
          return result;
        },
      });
    }
  }
  return calls;
}
