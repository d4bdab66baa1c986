import type { Browser, Page } from 'playwright-core';

import { Inspector } from '../../lib/inspector/inspector.js';
import { describeWithChromium, startChromium } from '../support/chromium.js';
import { SECRET, startInspectedApp, type InspectedApp } from '../support/inspector-app.js';

/** What the page says in the console, and what it fails with. */
function listenTo(page: Page): string[] {
  const said: string[] = [];
  page.on('console', (message) => said.push(`${message.type()}: ${message.text()}`));
  page.on('pageerror', (error) => said.push(`error: ${error.message}`));
  return said;
}

/** Runs in the page: the colours of a text and of what is behind it, as red, green and blue. */
const COLOURS = `(selector) => {
  const node = document.querySelector(selector);
  const backOf = (each) => getComputedStyle(each).backgroundColor;
  let behind = node;
  while (behind.parentElement && backOf(behind) === 'rgba(0, 0, 0, 0)') behind = behind.parentElement;
  return [getComputedStyle(node).color, backOf(behind)].map((colour) =>
    colour.match(/[\\d.]+/g).slice(0, 3).map(Number));
}`;

/** The contrast of a text, see https://www.w3.org/TR/WCAG22/#dfn-contrast-ratio */
async function contrastOf(page: Page, selector: string): Promise<number> {
  const colours = await page.evaluate<number[][]>(`(${COLOURS})('${selector}')`);
  const luminances = colours.map((colour) => {
    const [red, green, blue] = colour.map((each) => {
      const share = each / 255;
      return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * red! + 0.7152 * green! + 0.0722 * blue!;
  });
  return (Math.max(...luminances) + 0.05) / (Math.min(...luminances) + 0.05);
}

describeWithChromium('the page of the inspector', () => {
  let app: InspectedApp;
  let browser: Browser;
  let page: Page;
  let said: string[];

  beforeAll(async () => {
    [app, browser] = await Promise.all([startInspectedApp(), startChromium()]);
    page = await browser.newPage();
    said = listenTo(page);
    await page.goto(`${app.url}/__db`);
  }, 60_000);
  afterAll(async () => {
    await browser?.close();
    await app?.close();
  });
  // All that the page is served with is a policy without inline scripts and styles; a breach would be said here.
  afterEach(() => expect(said).toEqual([]));

  const send = async (method: 'GET' | 'POST', path: string): Promise<void> => {
    await (await app.fetch(`/notes/${path}`, { method })).text();
  };
  /** Goes to the view of the last request with such a title. */
  const open = async (title: string): Promise<void> => {
    await page.goto(`${app.url}/__db#`);
    await page.getByRole('link', { name: title }).first().click();
    await page.getByRole('heading', { level: 1, name: title }).waitFor();
  };

  it('says that there is nothing yet, and lists requests as they come', async () => {
    await page.getByRole('status').filter({ hasText: 'Live' }).waitFor();
    await page.getByText('No request has come yet.').waitFor();
    await send('GET', `find/${SECRET}`);
    await send('POST', 'both');
    const row = page.getByRole('row', { name: /POST \/notes\/both/ });
    await row.filter({ hasText: 'committed' }).waitFor();
    expect(await row.getByRole('cell').allTextContents()).toEqual([
      '201',
      '✓ committed',
      '2',
      expect.stringMatching(/ms$/),
      expect.stringMatching(/ms$/),
      expect.stringMatching(/^\d\d:\d\d:\d\d$/),
    ]);
  });

  it('opens a waterfall by keyboard, two databases one under the other, and goes back', async () => {
    await page.locator('body').press('Tab');
    await page.keyboard.press('Tab');
    expect(await page.locator(':focus').textContent()).toBe('POST /notes/both');
    await page.keyboard.press('Enter');
    const title = page.getByRole('heading', { level: 1, name: 'POST /notes/both' });
    await title.waitFor();
    expect(await page.locator('h1:focus').count()).toBe(1);
    expect(await page.getByRole('region').locator('h2').allTextContents()).toEqual([
      expect.stringMatching(/^default spec_/),
      expect.stringMatching(/^audit spec_/),
    ]);
    const rows = page.getByRole('table', { name: 'What was sent to audit' }).getByRole('rowheader');
    // On a busy machine there are pauses between them.
    const texts = await rows.filter({ hasNotText: 'nothing asked' }).allTextContents();
    expect(texts).toEqual([
      'Waiting for a connection',
      expect.stringMatching(/^BEGINinsert into "note" .*InspectedController\.both \(/),
      'commit',
    ]);
    await page.keyboard.press('Escape');
    await page.getByRole('heading', { level: 1, name: 'Requests' }).waitFor();
    expect(await page.locator(':focus').textContent()).toBe('POST /notes/both');
  });

  it('connects again when its stream has ended', async () => {
    app.app.get(Inspector, { strict: false }).streams.end();
    await page.getByRole('status').filter({ hasText: 'Reconnecting' }).waitFor();
    await page.getByRole('status').filter({ hasText: 'Live' }).waitFor();
    await send('GET', 'job');
    await page.getByRole('row', { name: /GET \/notes\/job/ }).waitFor();
  });

  it('says why a request was rolled back', async () => {
    await send('POST', 'refused');
    await open('POST /notes/refused');
    const why = page.getByRole('region', { name: 'Why it was rolled back' });
    expect(await why.textContent()).toContain('Its handler has thrown: ConflictException');
    expect(await page.getByRole('rowheader', { name: 'rollback' }).count()).toBe(1);
  });

  it('shows N+1 where it happened, and a long statement in full where it is opened', async () => {
    await send('GET', 'n-plus-one');
    await open('GET /notes/n-plus-one');
    await page.getByRole('cell', { name: /N\+1: the same statement 6 times/ }).waitFor();
    const summary = page.locator('summary').first();
    const { height: before } = (await summary.boundingBox())!;
    await summary.press('Enter');
    expect((await summary.boundingBox())!.height).toBeGreaterThan(before);
  });

  it('shows a text that is HTML as text, and no value', async () => {
    await send('POST', 'scripted');
    await open('POST /notes/scripted');
    await page.getByText('<script>globalThis.attacked').first().waitFor();
    expect(await page.evaluate('globalThis.attacked')).toBeUndefined();
    expect(await page.content()).not.toContain(SECRET);
  });

  it('has landmarks, headings and tables that a screen reader knows', async () => {
    await open('POST /notes/both');
    const tree = await page.locator('body').ariaSnapshot();
    for (const line of [
      /^- banner:/m,
      /- status: Live/,
      /^- main:/m,
      /- heading "POST \/notes\/both" \[level=1\]/,
      /- region "default spec_/,
      /- heading "default spec_.*" \[level=2\]/,
      /- table "What was sent to default":/,
      /- columnheader "What"/,
      /- rowheader "commit"/,
    ]) {
      expect(tree).toMatch(line);
    }
    const unnamed = await page
      .locator('a, button, summary')
      .evaluateAll(
        (nodes) => nodes.filter((node) => (node.textContent ?? '').trim() === '').length,
      );
    expect(unnamed).toBe(0);
  });

  it.each(['light', 'dark'] as const)('can be read in the %s scheme', async (colorScheme) => {
    await page.emulateMedia({ colorScheme });
    await open('GET /notes/n-plus-one');
    const back = await page.evaluate<string>('getComputedStyle(document.body).backgroundColor');
    expect(back).toBe(colorScheme === 'light' ? 'rgb(255, 255, 255)' : 'rgb(20, 23, 28)');
    for (const selector of ['h1', 'dt', '.chip.committed', '.finding strong', 'h3 small', '.tag']) {
      const contrast = await contrastOf(page, selector);
      // Level AA: https://www.w3.org/TR/WCAG22/#contrast-minimum
      expect({ selector, isEnough: contrast >= 4.5, contrast }).toMatchObject({ isEnough: true });
    }
  });

  it('fits into a narrow window', async () => {
    await page.setViewportSize({ width: 380, height: 700 });
    for (const view of [page.url(), `${app.url}/__db#`]) {
      await page.goto(view);
      await page.getByRole('heading', { level: 1 }).waitFor();
      expect(await page.evaluate('document.documentElement.scrollWidth - innerWidth')).toBe(0);
    }
  });
});
