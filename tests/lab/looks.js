/* What can be computed of the looks of the panel: texts and marks that are hard to see, and what sticks out sideways. */
() => {
  const panel = document.querySelector('#parslab-panel');
  const found = [];

  const parsed = colour => {
    const [r, g, b, a = 1] = colour.match(/[\d.]+/g).map(Number);
    const scale = colour.startsWith('color(') ? 255 : 1;
    return [r * scale, g * scale, b * scale, a];
  };
  const over = ([r, g, b, a], below) => [r, g, b].map((value, i) => value * a + below[i] * (1 - a));
  const luminance = colour => {
    const [r, g, b] = colour.map(value => {
      const part = value / 255;
      return part <= 0.03928 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const line = element => (element ? [...line(element.parentElement), element] : []);
  const contrast = (element, colour) => {
    const styles = line(element).map(ancestor => getComputedStyle(ancestor));
    const ground = styles.reduce((below, style) => over(parsed(style.backgroundColor), below), [255, 255, 255]);
    const [r, g, b, a] = parsed(colour);
    const opacity = styles.reduce((product, style) => product * Number(style.opacity), a);
    const [dark, light] = [ground, over([r, g, b, opacity], ground)].map(luminance).sort((x, y) => x - y);
    return (light + 0.05) / (dark + 0.05);
  };
  const check = (element, text, colour) => {
    const ratio = contrast(element, colour);
    if (ratio < 4.5) {
      found.push(`contrast ${ratio.toFixed(2)}: ${element.className || element.tagName} ${text.trim().slice(0, 40)}`);
    }
  };

  for (const element of panel.querySelectorAll('*')) {
    const box = element.getBoundingClientRect();
    const hidden = !element.checkVisibility({ visibilityProperty: true }) || box.width < 2 || box.height < 2;
    if (hidden || element.closest('svg, canvas')) {
      continue;
    }
    const style = getComputedStyle(element);
    const own = [...element.childNodes].filter(node => node.nodeType === Node.TEXT_NODE).map(node => node.data).join('');
    // What cannot be used now may be pale (WCAG 1.4.3).
    if (own.trim() && !element.closest(':disabled')) {
      check(element, own, style.color);
    }
    if (element.matches('input[placeholder]')) {
      check(element, element.placeholder, getComputedStyle(element, '::placeholder').color);
    }
    // Program text keeps its lines, and scrolls by itself.
    const scrolls = ['auto', 'scroll'].includes(style.overflowX) && element.scrollWidth > element.clientWidth;
    if (scrolls && !element.matches('[data-text=traceback]')) {
      found.push(`scrolls sideways: ${element.className}`);
    }
    const edge = panel.getBoundingClientRect();
    if ((box.right > edge.right + 1 || box.left < edge.left - 1) && !element.closest('[data-text=traceback]')) {
      found.push(`sticks out: ${element.className || element.tagName}`);
    }
  }
  // Times, states and heads are short: they have room everywhere, on one line.
  const short = '.parslab-Times :is(th, td), [role=gridcell]:is(.parslab-col-id, .parslab-col-time, .parslab-col-started),'
    + ' .parslab-BlockTable td:is(.parslab-col-block, .parslab-col-workers, .parslab-col-age), [role=tab]';
  for (const element of panel.querySelectorAll(short)) {
    if (!element.checkVisibility({ visibilityProperty: true }) || element.clientWidth < 2) {
      continue;
    }
    const text = document.createRange();
    text.selectNodeContents(element);
    const tops = [...text.getClientRects()].filter(box => box.width > 0).map(box => box.top);
    if (element.scrollWidth > element.clientWidth + 1) {
      found.push(`cut off: ${element.textContent} (${element.className})`);
    } else if (element.matches('.parslab-Times-number') && Math.max(...tops) - Math.min(...tops) > 8) {
      found.push(`broken: ${element.textContent} (${element.className})`);
    }
  }
  // Of what counts nothing the mark is pale on purpose; its label stands beside it.
  for (const mark of panel.querySelectorAll('.parslab-StateMark path')) {
    const ratio = mark.checkVisibility() ? contrast(mark, getComputedStyle(mark).stroke) : 21;
    if (ratio < 3 && !mark.closest('[data-count="0"]')) {
      found.push(`contrast ${ratio.toFixed(2)}: mark of ${mark.closest('[data-state]')?.dataset.state}`);
    }
  }
  if (panel.scrollWidth > panel.clientWidth) {
    found.push('the panel scrolls sideways');
  }
  return [...new Set(found)];
};
