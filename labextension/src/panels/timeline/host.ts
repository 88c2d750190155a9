/** The widget that holds the chart, which is loaded when the view is first shown. */
import type { TranslationBundle } from '@jupyterlab/translation';
import type { Message } from '@lumino/messaging';
import { Widget } from '@lumino/widgets';

import type { TimelineModel } from '../../model/timeline';
import type { ISelection } from '../../tokens';
import type { TimelineChart } from './chart';

export class TimelineHost extends Widget {
  constructor(
    private _model: TimelineModel,
    private _selection: ISelection,
    private _trans: TranslationBundle
  ) {
    super();
    this.addClass('parslab-TimelineChart');
  }

  /** Draws in the colours of the current theme. */
  restyle(): void {
    this._chart?.restyle();
  }

  dispose(): void {
    if (!this.isDisposed) {
      this._chart?.dispose();
      this._model.dispose();
      super.dispose();
    }
  }

  protected onAfterShow(message: Message): void {
    super.onAfterShow(message);
    this._start();
  }

  protected onAfterAttach(message: Message): void {
    super.onAfterAttach(message);
    if (this.isVisible) {
      this._start();
    }
  }

  protected onBeforeHide(message: Message): void {
    super.onBeforeHide(message);
    this._model.active = false;
  }

  protected onBeforeDetach(message: Message): void {
    this._model.active = false;
    super.onBeforeDetach(message);
  }

  private _start(): void {
    this._model.active = true;
    if (!this._loading) {
      this._loading = true;
      void this._load();
    }
  }

  private async _load(): Promise<void> {
    try {
      // Bokeh is large: no page pays for it until the timeline is shown.
      const { TimelineChart } = await import(/* webpackChunkName: "timeline" */ './chart');
      await breath();
      if (!this.isDisposed) {
        const chart = new TimelineChart(this.node, this._model, this._selection, this._trans);
        await breath();
        await chart.build();
        this._chart = chart;
      }
    } catch (error) {
      // The server may be gone for the moment: the next time that the view is shown tries again.
      this._loading = false;
      this.node.replaceChildren();
      console.error('The timeline of parslab cannot be drawn', error);
    }
  }

  private _chart: TimelineChart | null = null;
  private _loading = false;
}

/** Lets the page draw and take input between two long steps. */
function breath(): Promise<void> {
  return new Promise(resolve => setTimeout(resolve));
}
