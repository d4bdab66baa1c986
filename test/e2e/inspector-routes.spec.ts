import { Controller, Get, Module, UseGuards, type CanActivate, type Type } from '@nestjs/common';
import { DbContextInspectorModule } from 'nestjs-db-context/inspector';

import type { RequestSummary } from '../../lib/inspector/view/view-types.js';
import { InspectionStream } from '../support/inspection-stream.js';
import { SECRET, startInspectedApp, type InspectedApp } from '../support/inspector-app.js';
import type { AdapterName } from '../support/test-app.js';
import { waitFor } from '../support/wait-for.js';

class Nobody implements CanActivate {
  canActivate(): boolean {
    return false;
  }
}

describe.each<AdapterName>(['express', 'fastify'])('the routes in the list, over %s', (adapter) => {
  let app: InspectedApp;
  let stream: InspectionStream;
  const rest = adapter === 'express' ? '*path' : '*';

  @Controller()
  class RestController {
    @Get(`rest/${rest}`)
    rest(): string {
      return 'of a route for what is left';
    }

    @Get(`denied/${rest}`)
    @UseGuards(Nobody)
    denied(): void {}
  }

  @Module({ controllers: [RestController] })
  class RestModule {}

  @Controller()
  class AllController {
    @Get(rest)
    @UseGuards(Nobody)
    all(): void {}
  }

  @Module({ controllers: [AllController] })
  class AllModule {}

  const start = async (routes: Type): Promise<void> => {
    const imports = [DbContextInspectorModule.forRoot(), routes];
    app = await startInspectedApp({ adapter, mount: 'middleware', imports, controllers: [] });
    stream = new InspectionStream(`${app.url}/__db/stream`);
    await waitFor(() => stream.texts.length > 0, { what: 'the list' });
  };
  afterEach(() => app.close());

  const titleOf = async (path: string, status: number): Promise<string> => {
    const before = Math.max(0, ...stream.summaries.map(({ id }) => id));
    const answer = await app.fetch(path);
    await answer.text();
    expect(answer.status).toBe(status);
    const own = (): RequestSummary | undefined =>
      stream.summaries.findLast(({ id, outcome }) => id > before && outcome !== 'running');
    await waitFor(() => own() !== undefined, { what: 'the request in the stream' });
    return own()!.title;
  };

  it('are the first part of the path where there is none, and not that of the middleware', async () => {
    await start(RestModule);
    expect(await titleOf(`/nothing/${SECRET}`, 404)).toBe('GET /nothing/…');
    expect(await titleOf('/nothing', 404)).toBe('GET /nothing');
    expect(await titleOf(`/rest/${SECRET}`, 200)).toBe(`GET /rest/${rest}`);
    expect(await titleOf(`/denied/${SECRET}`, 403)).toBe(`GET /denied/${rest}`);
  });

  it('are the first part of the path where a wildcard has denied the request', async () => {
    await start(AllModule);
    expect(await titleOf(`/anything/${SECRET}`, 403)).toBe('GET /anything/…');
  });
});
