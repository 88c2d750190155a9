/**
 * The side panel: a header with tabs, one view, and a drawer for the selected task. A narrow panel has the drawer below
 * the view, a wide one beside it.
 *
 * The panel also decides whether it is visible: JupyterLab shows it, and its browser tab is in front.
 */
import type { TranslationBundle } from '@jupyterlab/translation';
import type { Message } from '@lumino/messaging';
import { MessageLoop } from '@lumino/messaging';
import { Panel, SplitPanel, StackedPanel, Widget } from '@lumino/widgets';

import { parslIcon } from '../../icons';
import { Selection } from '../../model/selection';
import type { IParslPanel, IRun, IRuns, IView } from '../../tokens';
import { Header } from './header';
import { panelId, tabId } from './tabs';

/** From this width on, the drawer is beside the view. */
const WIDE = 760;

export class ParslPanel extends Panel implements IParslPanel {
  constructor(
    private _runs: IRuns,
    private _trans: TranslationBundle
  ) {
    super();
    this.id = 'parslab-panel';
    this.addClass('parslab-Panel');
    this.title.icon = parslIcon;
    this.title.caption = _trans.__('Parsl');
    this.node.setAttribute('role', 'region');
    this.node.setAttribute('aria-label', _trans.__('Parsl'));

    this._header = new Header(_runs, _trans);
    this._header.chosen.connect((_, view) => this.showView(view));
    this._header.kept.connect((_, seconds) => this.keep(seconds));
    this._header.attached.connect(() => this.attach());
    this._split.addClass('parslab-Split');
    this._split.addWidget(this._stack);
    this.addWidget(this._header);
    this.addWidget(this._split);

    this.selection.changed.connect(this._onSelection, this);
    _runs.currentChanged.connect(this._onRun, this);
    this._onRun();
    document.addEventListener('visibilitychange', this._onVisibility);
    // The header changes its height with its content, and Lumino does not notice such a change.
    this._resized.observe(this._split.node);
  }

  readonly selection = new Selection();

  /** The commands of the header; the plugin sets them. */
  keep: (seconds: number) => void = () => undefined;
  attach: () => void = () => undefined;

  /** Brings the panel to the front; the plugin that adds the panel to the shell sets it. */
  reveal: () => void = () => undefined;

  addView(view: IView): void {
    const { content } = view;
    content.id = panelId(view.id);
    content.addClass('parslab-View');
    content.node.setAttribute('role', 'tabpanel');
    content.node.setAttribute('aria-labelledby', tabId(view.id));
    content.hide();
    this._views.push(view);
    this._views.sort((a, b) => a.rank - b.rank);
    this._stack.addWidget(content);
    this._placeTabs();
  }

  setDrawer(drawer: Widget): void {
    this._drawer = drawer;
    drawer.addClass('parslab-Drawer');
    drawer.node.setAttribute('role', 'complementary');
    drawer.node.setAttribute('aria-label', this._trans.__('Task details'));
    drawer.hide();
    this._split.addWidget(drawer);
  }

  open(view?: string): void {
    this.reveal();
    if (view !== undefined) {
      this.showView(view);
    }
  }

  /** Shows a view without bringing the panel to the front. */
  showView(id: string, chosen = true): void {
    if (!this._tabs.some(view => view.id === id)) {
      return;
    }
    if (chosen) {
      this._chosen = id;
    }
    this._views.forEach(view => view.content.setHidden(view.id !== id));
    this._header.current = id;
  }

  dispose(): void {
    if (!this.isDisposed) {
      document.removeEventListener('visibilitychange', this._onVisibility);
      this._resized.disconnect();
      this._runs.visible = false;
      super.dispose();
    }
  }

  /** Moves the focus into the panel, because users who open it with the keyboard continue with the keyboard. */
  protected onActivateRequest(message: Message): void {
    super.onActivateRequest(message);
    // A frame later, because the palette gives the focus back to the notebook when it closes.
    requestAnimationFrame(() => this._focusTab());
  }

  protected onAfterShow(message: Message): void {
    super.onAfterShow(message);
    this._onVisibility();
  }

  protected onAfterAttach(message: Message): void {
    super.onAfterAttach(message);
    this._onVisibility();
  }

  protected onBeforeHide(message: Message): void {
    super.onBeforeHide(message);
    this._runs.visible = false;
  }

  protected onResize(message: Widget.ResizeMessage): void {
    const width = message.width < 0 ? this.node.offsetWidth : message.width;
    const orientation = width >= WIDE ? 'horizontal' : 'vertical';
    if (width > 0 && this._split.orientation !== orientation) {
      this._split.orientation = orientation;
    }
    super.onResize(message);
  }

  private _onVisibility = (): void => {
    this._runs.visible = this.isVisible && document.visibilityState !== 'hidden';
  };

  private _onRun(): void {
    this._followed?.changed.disconnect(this._onRunChange, this);
    this._followed = this._runs.current;
    this._followed?.changed.connect(this._onRunChange, this);
    this._onRunChange();
  }

  /** Hides the tabs of empty views, and returns to the chosen view when it has something to show. */
  private _placeTabs(): void {
    const tabs = this._views.filter(view => view.fits?.(this._runs.current) ?? true);
    if (tabs.length === this._tabs.length && tabs.every((view, i) => view === this._tabs[i])) {
      return;
    }
    this._tabs = tabs;
    this._header.tabs = tabs;
    const wanted = tabs.find(view => view.id === this._chosen) ?? tabs[0];
    this.showView(wanted?.id ?? '', false);
  }

  private _onRunChange(): void {
    const run = this._runs.current;
    this._placeTabs();
    this._split.setHidden(!run?.info || run.status === 'none');
  }

  private _onSelection(): void {
    const drawer = this._drawer;
    const hide = this.selection.task === null;
    if (!drawer || drawer.isHidden === hide) {
      return;
    }
    if (hide) {
      this._sizes = this._split.relativeSizes();
      this._giveFocusBack(drawer);
    } else {
      this._opener = document.activeElement;
    }
    drawer.setHidden(hide);
    if (!hide) {
      this._split.setRelativeSizes(this._sizes);
    }
  }

  /** Moves the focus from the drawer back to the element that opened it, not to the top of the page. */
  private _giveFocusBack(drawer: Widget): void {
    if (!drawer.node.contains(document.activeElement)) {
      return;
    }
    const opener = this._opener;
    if (opener instanceof HTMLElement && this.node.contains(opener) && opener.checkVisibility()) {
      opener.focus();
    } else {
      this._focusTab();
    }
  }

  private _focusTab(): void {
    this.node.querySelector<HTMLElement>('[role=tab][aria-selected=true]')?.focus();
  }

  private _header: Header;
  private _resized = new ResizeObserver(() => {
    if (this._split.isVisible) {
      MessageLoop.sendMessage(this._split, Widget.ResizeMessage.UnknownSize);
    }
  });
  private _split = new SplitPanel({ orientation: 'vertical', spacing: 1 });
  private _stack = new StackedPanel();
  private _drawer: Widget | null = null;
  /** The element that had the focus when the drawer opened. */
  private _opener: Element | null = null;
  /** The relative sizes of view and drawer when the drawer was last visible. */
  private _sizes = [45, 55];
  private _views: IView[] = [];
  /** The views that have something to show. */
  private _tabs: IView[] = [];
  private _chosen: string | null = null;
  private _followed: IRun | null = null;
}
