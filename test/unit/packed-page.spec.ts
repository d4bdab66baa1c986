/** The links of a page as the package holds it. */
import { packedPage } from '../../.ci/package/packed-page.mjs';

const PACKED = ['README.md', 'docs/errors.md', 'docs/control.md'];

function packed(page: string, text: string, address?: string): string {
  return packedPage(page, text, {
    isPacked: (file) => PACKED.includes(file),
    addressOf: (file) => (address === undefined ? undefined : `${address}/${file}`),
  });
}

const ADDRESS = 'https://example.com/blob/v1.2.3';

it.each([
  ['a packed page', 'docs/control.md', '[control](errors.md#code) [up](../README.md)'],
  ['the page itself', 'docs/control.md', '[above](#hooks)'],
  ['another site', 'README.md', '[the manual](https://example.org/sql.html)'],
])('a link to %s stays', (_, page, text) => {
  expect(packed(page, text)).toBe(text);
  expect(packed(page, text, ADDRESS)).toBe(text);
});

it.each([
  ['README.md', '[pages](docs/http.md#res), and more', 'docs/http.md#res'],
  ['docs/control.md', '[pages](http.md)', 'docs/http.md'],
  ['docs/control.md', '[pages](../sample/)', 'sample'],
])('a link of %s to what is not packed leads into the repository: %s', (page, text, path) => {
  expect(packed(page, text, ADDRESS)).toBe(text.replace(/\]\([^)]*\)/, `](${ADDRESS}/${path})`));
});

it('without an address of the repository the page says the path', () => {
  expect(packed('docs/control.md', 'See [the `@Res()` page](http.md#res).')).toBe(
    'See the `@Res()` page (docs/http.md in the repository).',
  );
  expect(packed('README.md', '[docs/http.md](docs/http.md) has it')).toBe('docs/http.md has it');
});

it('code stays as it is', () => {
  const text = 'A `[list](docs/http.md)`.\n```ts\nconst x = list[0](docs.md);\n```\n`b`\n';
  expect(packed('README.md', text, ADDRESS)).toBe(text);
});

it('refuses a picture that is not packed', () => {
  expect(() => packed('docs/control.md', '![life](figures/request.svg)', ADDRESS)).toThrow(
    new Error('docs/control.md shows docs/figures/request.svg, which is not packed'),
  );
});
