import {
  Controller,
  Get,
  Inject,
  NotFoundException,
  Param,
  Req,
  Res,
  ServiceUnavailableException,
  UseGuards,
  VERSION_NEUTRAL,
  type Type,
} from '@nestjs/common';

import { SkipDbContext } from '../decorators/route.decorators.js';
import type { HttpRequest } from '../transport/http-exchange.js';
import { INSPECTOR_PATH, type DbContextInspectorPlace } from './inspector-options.js';
import { Inspector } from './inspector.js';
import { takeOver, type FrameworkAnswer } from './own-answer.js';
import { pageHtml, readPageFiles, type PageFile } from './page-files.js';
import { SameOriginGuard } from './same-origin.guard.js';

/** Makes the controller of the page. Its routes are known to Nest as those of the application are. */
export function inspectorController(
  path: string,
  { guard }: Pick<DbContextInspectorPlace, 'guard'>,
): Type {
  @Controller({ path, version: VERSION_NEUTRAL })
  @SkipDbContext()
  @UseGuards(SameOriginGuard, ...(guard === undefined ? [] : [guard]))
  class InspectorController {
    readonly #inspector: Inspector;
    readonly #files: ReadonlyMap<string, PageFile> = readPageFiles();
    readonly #html: string;

    constructor(inspector: Inspector, @Inject(INSPECTOR_PATH) ownPath: string) {
      this.#inspector = inspector;
      this.#html = pageHtml(ownPath);
    }

    @Get()
    page(@Req() { originalUrl, url = '' }: HttpRequest, @Res() answer: FrameworkAnswer): void {
      const node = takeOver(answer, 'text/html; charset=utf-8');
      const asked = (originalUrl ?? url).split('?', 1).join('');
      if (asked.endsWith('/')) {
        // Its files are linked relative to a path without a slash at its end.
        node.statusCode = 302;
        node.setHeader('location', `..${path.slice(path.lastIndexOf('/'))}`);
        node.end();
      } else {
        node.end(this.#html);
      }
    }

    @Get('stream')
    stream(@Res() answer: FrameworkAnswer): void {
      if (this.#inspector.isBusy) {
        throw new ServiceUnavailableException('The inspector has no stream to give now.');
      }
      this.#inspector.streams.add(takeOver(answer, 'text/event-stream; charset=utf-8'));
    }

    @Get('requests/:id')
    request(@Param('id') id: string, @Res() answer: FrameworkAnswer): void {
      const detail = this.#inspector.detail(Number(id));
      if (detail === undefined) {
        throw new NotFoundException('This request is not kept any more.');
      }
      takeOver(answer, 'application/json; charset=utf-8').end(JSON.stringify(detail));
    }

    @Get(':file')
    file(@Param('file') name: string, @Res() answer: FrameworkAnswer): void {
      const file = this.#files.get(name);
      if (file === undefined) {
        throw new NotFoundException('The inspector has no such file.');
      }
      takeOver(answer, file.contentType).end(file.body);
    }
  }
  return InspectorController;
}
