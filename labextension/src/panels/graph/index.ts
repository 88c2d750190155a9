/** The view of the panel that shows the graph: a key, the canvas, and buttons. */
import type { TranslationBundle } from '@jupyterlab/translation';
import { Panel } from '@lumino/widgets';

import type { IRuns, ISelection } from '../../tokens';
import { GraphCanvas } from './canvas';
import { Legend } from './legend';
import { GraphModel } from './model';
import { GraphTools } from './tools';

export class GraphView extends Panel {
  constructor(runs: IRuns, selection: ISelection, trans: TranslationBundle) {
    super();
    this.addClass('parslab-Graph');
    this._canvas = new GraphCanvas(new GraphModel(runs), selection, trans);
    this.addWidget(new Legend(runs, trans));
    this.addWidget(this._canvas);
    this.addWidget(new GraphTools(this._canvas, trans));
  }

  /** Draws in the colours of the current theme. */
  restyle(): void {
    this._canvas.restyle();
  }

  private _canvas: GraphCanvas;
}
