import { once } from 'node:events';
import { connect, type Socket } from 'node:net';

import type { Browser } from 'playwright-core';

import { describeWithChromium, startChromium } from '../support/chromium.js';
import { startInspectedApp } from '../support/inspector-app.js';
import type { AdapterName } from '../support/test-app.js';

const LONGEST_CLOSE_MS = 2_000;

describeWithChromium('an application with open pages of the inspector', () => {
  let browser: Browser;
  beforeAll(async () => {
    browser = await startChromium();
  }, 60_000);
  afterAll(() => browser?.close());

  it.each<AdapterName>(['express', 'fastify'])(
    'H3: closes over %s although browsers are left open',
    async (adapter) => {
      const app = await startInspectedApp({ adapter, forceCloseConnections: false });
      let unused: Socket | undefined;
      const context = await browser.newContext();
      try {
        const pages = await Promise.all([1, 2, 3].map(() => context.newPage()));
        await app.fetch('/notes/job', { headers: { connection: 'close' } });
        for (const page of pages) {
          await page.goto(`${app.url}/__db`);
          await page.getByRole('status').filter({ hasText: 'Live' }).waitFor();
        }
        await pages[1]!.getByRole('link', { name: 'GET /notes/job' }).click();
        await pages[1]!.getByRole('heading', { level: 1, name: 'GET /notes/job' }).waitFor();
        await pages[2]!.reload();
        await pages[2]!.getByRole('status').filter({ hasText: 'Live' }).waitFor();
        // As browsers do in advance: nothing is sent on it, and Node's server waits for it as it closes.
        unused = connect(Number(new URL(app.url).port), '127.0.0.1');
        await once(unused, 'connect');
        const before = performance.now();
        await app.close();
        expect(performance.now() - before).toBeLessThan(LONGEST_CLOSE_MS);
      } finally {
        unused?.destroy();
        await context.close();
      }
    },
  );
});
