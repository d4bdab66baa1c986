import type { INestApplication } from '@nestjs/common';
import { Test } from '@nestjs/testing';

import { AppModule, type DatabaseUrls } from '../app.module.js';
import { prepareDatabases } from '../start/prepare-databases.js';

export const ADA = { 'x-account-key': 'ada-key' };
export const GRACE = { 'x-account-key': 'grace-key' };

/** Starts the application, with its tables and accounts. */
export async function startBank(urls: DatabaseUrls): Promise<INestApplication> {
  const testingModule = await Test.createTestingModule({
    imports: [AppModule.register(urls)],
  }).compile();
  const app = testingModule.createNestApplication({ logger: false, forceCloseConnections: true });
  await prepareDatabases(app);
  await app.listen(0, '127.0.0.1');
  return app;
}

/** Sends requests to the application at a URL. */
export function requestsTo(url: () => string): {
  readonly get: (path: string, headers?: Record<string, string>) => Promise<Response>;
  readonly post: (
    path: string,
    body: unknown,
    headers?: Record<string, string>,
  ) => Promise<Response>;
} {
  return {
    get: (path, headers = {}) => fetch(`${url()}${path}`, { headers }),
    post: (path, body, headers = {}) =>
      fetch(`${url()}${path}`, {
        method: 'POST',
        headers: { 'content-type': 'application/json', ...headers },
        body: JSON.stringify(body),
      }),
  };
}
