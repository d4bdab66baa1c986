import type { Browser } from 'playwright-core';

import { describeWith } from './server-process.js';

const PROGRAM = process.env['CHROMIUM'] ?? '/usr/bin/chromium';

/** For tests that need a browser: `apt-get install chromium`, or its path in `CHROMIUM`. */
export const describeWithChromium = describeWith('chromium', [PROGRAM, '--version']);

/** Starts a browser that shows nothing. */
export async function startChromium(): Promise<Browser> {
  const { chromium } = await import('playwright-core');
  // Root may not run it otherwise.
  return chromium.launch({ executablePath: PROGRAM, args: ['--no-sandbox'] });
}
