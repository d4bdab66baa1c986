import type { Browser, Page } from 'playwright-core';

import { Inspector } from '../../lib/inspector/inspector.js';
import { describeWithChromium, startChromium } from '../support/chromium.js';
import { SECRET, startInspectedApp, type InspectedApp } from '../support/inspector-app.js';
import { waitFor } from '../support/wait-for.js';

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
  let streams: Inspector['streams'];
  /** What the guard in front of the page says. */
  let isOpen = true;

  beforeAll(async () => {
    [app, browser] = await Promise.all([
      startInspectedApp({}, { guard: { canActivate: () => isOpen } }),
      startChromium(),
    ]);
    streams = app.app.get(Inspector, { strict: false }).streams;
    page = await browser.newPage();
    page.setDefaultTimeout(5_000);
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
      expect.stringMatching(/ m?s$/),
      '2',
      expect.stringMatching(/ms$/),
      expect.stringMatching(/ms$/),
      expect.stringMatching(/^\d\d:\d\d:\d\d$/),
    ]);
  });

  it('is sorted by a column, and filtered by text and outcome', async () => {
    const titles = async (): Promise<string[]> =>
      page.locator('tbody tr:not([hidden]) a').allTextContents();
    expect(await titles()).toEqual(['POST /notes/both', 'GET /notes/find/:text']);
    const head = page.getByRole('columnheader', { name: 'Statements' });
    expect(await page.locator('[aria-sort]').allTextContents()).toEqual(['Time ▼']);
    await head.getByRole('button').press('Enter');
    expect(await head.getAttribute('aria-sort')).toBe('descending');
    expect(await titles()).toEqual(['POST /notes/both', 'GET /notes/find/:text']);
    await head.getByRole('button').press('Enter');
    expect(await head.getAttribute('aria-sort')).toBe('ascending');
    expect(await titles()).toEqual(['GET /notes/find/:text', 'POST /notes/both']);
    await page.getByRole('columnheader', { name: 'Time' }).getByRole('button').click();
    await page.getByLabel('Filter').fill('InspectedController both');
    expect(await titles()).toEqual(['POST /notes/both']);
    await page.getByText('1 of 2 requests match the filter.').waitFor();
    await page.getByLabel('Outcome').selectOption('rolled back');
    await page.getByText('0 of 2 requests match the filter.').waitFor();
    await page.getByLabel('Outcome').selectOption('all');
    await page.getByLabel('Filter').fill('');
    expect(await titles()).toHaveLength(2);
  });

  it('opens a waterfall by keyboard, two databases one under the other, and goes back', async () => {
    await page.getByRole('button', { name: 'Time' }).focus();
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
    streams.end();
    await page.getByRole('status').filter({ hasText: 'Reconnecting' }).waitFor();
    await page.getByRole('status').filter({ hasText: 'Live' }).waitFor();
    await send('GET', 'job');
    await page.getByRole('row', { name: /GET \/notes\/job/ }).waitFor();
  });

  it('passes the guard again after a while, and shows nothing more where it is refused', async () => {
    await page.goto(`${app.url}/__db#`);
    const rows = page.locator('tbody tr');
    await rows.first().waitFor();
    isOpen = false;
    streams.renew();
    await page
      .getByText('The list cannot be loaded: the application has refused it with the status 403.')
      .waitFor();
    expect(await rows.count()).toBe(0);
    isOpen = true;
    await rows.first().waitFor();
    await page.getByRole('status').filter({ hasText: 'Live' }).waitFor();
    // The browser says so of each answer that is an error.
    expect(said.splice(0).filter((line) => !line.includes('403 (Forbidden)'))).toEqual([]);
  });

  it('says that too many pages have the list open, rather than that there is none', async () => {
    const others = Array.from({ length: 20 }, () => new AbortController());
    await page.goto('about:blank');
    await waitFor(() => streams.size === 0, { what: 'the page to leave' });
    await Promise.all(
      others.map(async ({ signal }) => fetch(`${app.url}/__db/stream`, { signal })),
    );
    await page.goto(`${app.url}/__db`);
    await page.getByText('20 pages have it open, and no more can.').waitFor();
    expect(await page.getByText('No request has come yet.').count()).toBe(0);
    others.forEach((each) => each.abort());
    await page.locator('tbody tr').first().waitFor();
    expect(said.splice(0).filter((line) => !line.includes('503 (Service'))).toEqual([]);
  });

  it('shows a request that hangs: its time goes on, the place in the code, the process of the server', async () => {
    const [lock] = await app.database.query<{ pid: number }>(
      'select pg_advisory_lock(17), pg_backend_pid() as pid',
    );
    const hanging = send('GET', 'hanging');
    await page.getByRole('row', { name: /notes\/hanging/ }).waitFor();
    await open('GET /notes/hanging');
    const held = page.locator('dt:text-is("In transaction") + dd');
    const before = await held.textContent();
    await waitFor(async () => (await held.textContent()) !== before, { what: 'the time to go on' });
    const waiting = await app.database.query<{ pid: number }>(
      'select pid from pg_locks where not granted',
    );
    await page.getByText(`backend ${waiting[0]!.pid}`).waitFor();
    await page.getByText(/InspectedController\.hanging \(?inspector-app\.ts:\d+/).waitFor();
    await app.database.query('select pg_terminate_backend($1)', [lock!.pid]).catch(() => undefined);
    await hanging;
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

  it('puts away what is the same again and again', async () => {
    await send('GET', 'twelve');
    await open('GET /notes/twelve');
    const rows = page.locator('tr:not([hidden]) .tag.repeat');
    expect(await rows.count()).toBe(3);
    const more = page.getByRole('button', { name: /^9 more of the same statement, .* in all$/ });
    await more.press('Enter');
    expect(await more.getAttribute('aria-expanded')).toBe('true');
    expect(await rows.count()).toBe(12);
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
