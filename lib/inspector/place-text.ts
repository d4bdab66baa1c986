import { sep } from 'node:path';
import { fileURLToPath } from 'node:url';

const FILE_URL = /file:\/\/[^\s)]+?(?=:\d+:\d+)/;

/**
 * The first line of a stack as people read it: `OrdersService.list (src/orders/orders.service.ts:42:10)`,
 * with the file relative to where the process was started.
 */
export function placeText(stack: string | undefined): string | undefined {
  const [line = ''] = (stack ?? '').split('\n', 1);
  const text = line
    .trim()
    .replace(/^at (?:async )?/, '')
    .replace(FILE_URL, (url) => fileURLToPath(url))
    .replace(process.cwd() + sep, '');
  return text === '' ? undefined : text;
}
