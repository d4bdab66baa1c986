import {
  Controller,
  Get,
  Inject,
  NotFoundException,
  Param,
  Res,
  ServiceUnavailableException,
  UseGuards,
  VERSION_NEUTRAL,
  type Type,
} from '@nestjs/common';

import { SkipDbContext } from '../decorators/route.decorators.js';
import { REDIRECT } from './http-requests.js';
import {
  INSPECTOR_PLACE,
  type DbContextInspectorPlace,
  type InspectorPlace,
} from './inspector-options.js';
import { Inspector } from './inspector.js';
import { takeOver, type FrameworkAnswer } from './own-answer.js';
import { pageHtml, readPageFiles, type PageFile } from './page-files.js';
import { SameOriginGuard } from './same-origin.guard.js';

const JSON_TYPE = 'application/json; charset=utf-8';

/** Makes the controller of the page. Its routes are known to Nest as those of the application are. */
export function inspectorController(path: string, guard: DbContextInspectorPlace['guard']): Type {
  @Controller({ path, version: VERSION_NEUTRAL })
  @SkipDbContext()
  @UseGuards(SameOriginGuard, ...(guard === undefined ? [] : [guard]))
  class InspectorController {
    readonly #inspector: Inspector;
    readonly #files: ReadonlyMap<string, PageFile> = readPageFiles();
    readonly #html: string;

    constructor(inspector: Inspector, @Inject(INSPECTOR_PLACE) place: InspectorPlace) {
      this.#inspector = inspector;
      this.#html = pageHtml(place.path);
    }

    @Get()
    page(@Res() answer: FrameworkAnswer): void {
      takeOver(answer, 'text/html; charset=utf-8').end(this.#html);
    }

    @Get(REDIRECT)
    redirect(@Res() answer: FrameworkAnswer): void {
      const node = takeOver(answer, 'text/plain; charset=utf-8');
      node.statusCode = 302;
      node.setHeader('location', `..${path.slice(path.lastIndexOf('/'))}`);
      node.end();
    }

    @Get('stream')
    stream(@Res() answer: FrameworkAnswer): void {
      const { open, most, isClosing } = this.#inspector.state;
      if (open >= most || isClosing) {
        throw new ServiceUnavailableException('The inspector has no stream to give now.');
      }
      this.#inspector.streams.add(takeOver(answer, 'text/event-stream; charset=utf-8'));
    }

    /** A browser does not tell a page why a stream was refused. */
    @Get('state')
    state(@Res() answer: FrameworkAnswer): void {
      takeOver(answer, JSON_TYPE).end(JSON.stringify(this.#inspector.state));
    }

    @Get('requests/:id')
    request(@Param('id') id: string, @Res() answer: FrameworkAnswer): void {
      const detail = this.#inspector.detail(Number(id));
      if (detail === undefined) {
        throw new NotFoundException('This request is not kept any more.');
      }
      takeOver(answer, JSON_TYPE).end(JSON.stringify(detail));
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
