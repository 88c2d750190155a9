/** Puts the panel into the side area. */
import type { JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import { Panel } from '@lumino/widgets';

import { parslIcon } from '../icons';

export const panelPlugin: JupyterFrontEndPlugin<void> = {
  id: 'parslab:panel',
  description: 'Shows the Parsl run of the notebook in front.',
  autoStart: true,
  activate: (app: JupyterFrontEnd) => {
    const panel = new Panel();
    panel.id = 'parslab-panel';
    panel.title.icon = parslIcon;
    panel.title.caption = 'Parsl';
    panel.addClass('parslab-Panel');
    app.shell.add(panel, 'right', { rank: 700 });
  }
};
