/**
 * Takes the pictures of the README from the real page: `npm run sample:inspector:screenshots`. It needs
 * Chromium at /usr/bin/chromium, or where CHROMIUM says.
 */
import { writeFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';

import { chromium, type Page } from 'playwright-core';

import { findDatabases } from '../../01-basic/start/find-databases.js';
import { prepareDatabases } from '../../01-basic/start/prepare-databases.js';
import { runSample } from '../../starter/run-sample.js';
import { AppModule } from '../app.module.js';
import { sendMix } from '../mix/send-mix.js';
import { smallerPng } from './smaller-png.js';

/** From the compiled script to the sources. */
const TARGET = fileURLToPath(
  new URL('../../../../sample/06-inspector/screenshots/', import.meta.url),
);
const SCHEMES = ['light', 'dark'] as const;
const WIDE = { width: 1080, height: 820 };
const NARROW = { width: 380, height: 820 };

/** What is pictured: the list, and requests by the beginning of the text of their rows. */
const PICTURES = [
  { name: 'list', row: undefined, viewport: WIDE },
  { name: 'list-narrow', row: undefined, viewport: NARROW },
  { name: 'two-databases', row: /POST \/transfers.*committed/s, viewport: WIDE },
  { name: 'two-databases-narrow', row: /POST \/transfers.*committed/s, viewport: NARROW },
  { name: 'rolled-back', row: /POST \/transfers.*rolled back/s, viewport: WIDE },
  { name: 'n-plus-one', row: /n-plus-one/, viewport: WIDE },
] as const;

await runSample('npm run sample:inspector:screenshots', async (starter) => {
  const app = await starter.createApp(AppModule.register(await findDatabases(starter)));
  await prepareDatabases(app);
  const url = await starter.listen(app);
  await sendMix(url, { crowd: 2 });
  const browser = await chromium.launch({
    executablePath: process.env['CHROMIUM'] ?? '/usr/bin/chromium',
    args: ['--no-sandbox', '--disable-lcd-text'],
  });
  for (const colorScheme of SCHEMES) {
    const page = await browser.newPage({ colorScheme });
    for (const { name, row, viewport } of PICTURES) {
      await page.setViewportSize(viewport);
      await page.goto(`${url}/__db`);
      await page.getByRole('row').nth(1).waitFor();
      if (row !== undefined) {
        await open(page, row);
      }
      const png = await page.screenshot();
      await writeFile(`${TARGET}${name}-${colorScheme}.png`, smallerPng(png));
    }
  }
  await browser.close();
  process.kill(process.pid, 'SIGINT');
});

async function open(page: Page, row: RegExp): Promise<void> {
  const link = page.getByRole('row').filter({ hasText: row }).first().getByRole('link');
  await link.click();
  await page.getByRole('table').first().waitFor();
  // The ring around what has the focus is not for pictures.
  await page.locator('body').click({ position: { x: 1, y: 1 } });
}
