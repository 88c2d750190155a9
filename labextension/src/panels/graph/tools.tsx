/** The buttons that zoom and fit the graph. */
import type { TranslationBundle } from '@jupyterlab/translation';
import { ReactWidget } from '@jupyterlab/ui-components';
import * as React from 'react';

import type { GraphCanvas } from './canvas';

export class GraphTools extends ReactWidget {
  constructor(
    private _canvas: GraphCanvas,
    private _trans: TranslationBundle
  ) {
    super();
    this.addClass('parslab-GraphTools');
    this.node.setAttribute('role', 'toolbar');
    this.node.setAttribute('aria-label', _trans.__('Zoom'));
  }

  protected render(): React.JSX.Element {
    const trans = this._trans;
    const tools: [string, string, () => void][] = [
      ['M2 8h12M8 2v12', trans.__('Zoom in'), () => this._canvas.zoomIn()],
      ['M2 8h12', trans.__('Zoom out'), () => this._canvas.zoomOut()],
      ['M2 6V2h4M10 2h4v4M14 10v4h-4M6 14H2v-4', trans.__('Fit the graph'), () => this._canvas.fit()]
    ];
    return (
      <>
        {tools.map(([path, label, act]) => (
          <button key={path} type="button" aria-label={label} title={label} onClick={act}>
            <svg viewBox="0 0 16 16" aria-hidden="true">
              <path d={path} />
            </svg>
          </button>
        ))}
      </>
    );
  }
}
