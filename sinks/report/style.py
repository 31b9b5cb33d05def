"""How the page looks, and its script: a line under the pointer on all plots of the same time."""

from __future__ import annotations

import base64
import hashlib

CSS = """
:root{--ink:#1b1f24;--soft:#5b6570;--line:#d5dae0;--paper:#fff;--lane:#f1f3f5;--received:#cfe3d4;--signal:#22405f;
--good:#2e8b57;--warn:#d98b00;--bad:#c8321f;--c0:#2f6fb3;--c1:#d9822b;--c2:#3f9a68;--c3:#b5473c;--c4:#8a63b8;--c5:#8c6d4a;
--c6:#c45f9a;--c7:#5f8f9f;--none:#aab2bb;color-scheme:light dark}
@media(prefers-color-scheme:dark){:root{--ink:#e4e8ec;--soft:#9aa5b1;--line:#3a424b;--paper:#15181c;--lane:#22272d;
--received:#274335;--signal:#9cc3ea;--good:#4fbf85;--warn:#e8a838;--bad:#ef6a56;--c0:#6aa5e3;--c1:#eda25c;--c2:#66c492;
--c3:#e07f74;--c4:#b795e0;--c5:#c2a27d;--c6:#e592c3;--c7:#8fbfce;--none:#5b6570}}
*{box-sizing:border-box}
body{font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif;color:var(--ink);background:var(--paper);
margin:0 auto;max-width:1040px;padding:24px 20px 60px}
h1{font-size:1.6em;margin:0 0 .1em}
h2{font-size:1.15em;margin:2em 0 .5em;padding-bottom:.2em;border-bottom:1px solid var(--line)}
p{margin:.5em 0}.sub{color:var(--soft)}.missing,.why{color:var(--soft);font-size:.93em}
.pills{display:flex;flex-wrap:wrap;gap:6px;margin:.8em 0}
.pill{border:1px solid var(--line);border-radius:12px;
padding:1px 10px;font-size:.9em}.pill.good{border-color:var(--good)}
.pill.warn{border-color:var(--warn)}.pill.bad{border-color:var(--bad);color:var(--bad)}
svg{width:100%;height:auto;display:block;margin:.3em 0}svg text{font-size:11px;fill:var(--ink)}
svg.key{width:10px;height:10px;display:inline-block;margin:0}
svg .tick{fill:var(--soft);font-size:10px}svg .label{font-size:11px}svg .head{font-weight:600}
.axis,.tickmark{stroke:var(--soft)}.grid{stroke:var(--line)}.whisker{stroke:var(--none);stroke-width:2}
.lane{fill:var(--lane)}.received{fill:var(--received)}.good{fill:var(--good)}.warn{fill:var(--warn)}.bad{fill:var(--bad)}
.trace{fill:none;stroke-width:1;stroke-linejoin:round}.signal{stroke:var(--signal);stroke-width:.8}
.faint{opacity:.18}
.event{stroke:var(--bad);stroke-width:1.2}.seen{stroke-dasharray:3 3}.cursor{stroke:var(--ink);stroke-width:.6}
.f0{fill:var(--c0)}.f1{fill:var(--c1)}.f2{fill:var(--c2)}.f3{fill:var(--c3)}.f4{fill:var(--c4)}.f5{fill:var(--c5)}
.f6{fill:var(--c6)}.f7{fill:var(--c7)}.fnone{fill:var(--none)}
.l0{stroke:var(--c0)}.l1{stroke:var(--c1)}.l2{stroke:var(--c2)}.l3{stroke:var(--c3)}.l4{stroke:var(--c4)}.l5{stroke:var(--c5)}
.l6{stroke:var(--c6)}.l7{stroke:var(--c7)}.lnone{stroke:var(--none)}
.pair{display:grid;grid-template-columns:repeat(auto-fit,minmax(380px,1fr));gap:14px}
.books{display:grid;grid-template-columns:repeat(auto-fill,minmax(190px,1fr));gap:0 20px;margin:.6em 0;font-size:.9em}
.books div{display:flex;justify-content:space-between;border-bottom:1px solid var(--line)}
.books dt{color:var(--soft)}.books dd{margin:0;font-variant-numeric:tabular-nums}
.wide{overflow-x:auto}table{border-collapse:collapse;font-size:.9em}th{text-align:left;font-weight:600;color:var(--soft)}
th,td{padding:2px 14px 2px 0;vertical-align:top;border-bottom:1px solid var(--line)}
.numbers td:not(:first-child){font-variant-numeric:tabular-nums}
.odd td:first-child{border-left:3px solid var(--warn);padding-left:6px}
td{overflow-wrap:anywhere}.facts th{white-space:nowrap}
code,pre{font:12px/1.45 ui-monospace,"SF Mono",Consolas,monospace}
pre{background:var(--lane);padding:10px;overflow-x:auto;border-radius:4px}
summary{cursor:pointer;margin:.4em 0}.faults li{color:var(--bad)}
#at{position:fixed;right:12px;bottom:10px;background:var(--lane);border:1px solid var(--line);border-radius:4px;
padding:1px 8px;font-size:12px;font-variant-numeric:tabular-nums}#at:empty{display:none}
@media print{body{max-width:none;padding:0;font-size:11px}
h2{break-after:avoid}
section svg,tr{break-inside:avoid}#at{display:none}
pre{white-space:pre-wrap}}
"""

SCRIPT = """
(function(){
var plots=[].slice.call(document.querySelectorAll('svg[data-x0]')),box=document.getElementById('at');
function lines(show,plot,share){plots.forEach(function(p){
var same=show&&p.dataset.x0===plot.dataset.x0&&p.dataset.x1===plot.dataset.x1,c=p.querySelector('.cursor');
if(!same){if(c)c.remove();return}
if(!c){c=document.createElementNS(p.namespaceURI,'line');c.setAttribute('class','cursor');p.appendChild(c)}
var x=+p.dataset.l+share*(p.dataset.r-p.dataset.l);
c.setAttribute('x1',x);c.setAttribute('x2',x);c.setAttribute('y1',0);c.setAttribute('y2',p.viewBox.baseVal.height)})}
plots.forEach(function(p){
p.addEventListener('pointermove',function(e){
var b=p.getBoundingClientRect(),x=(e.clientX-b.left)/b.width*p.viewBox.baseVal.width;
var share=(x-p.dataset.l)/(p.dataset.r-p.dataset.l);
if(share<0||share>1){lines(false);box.textContent='';return}
lines(true,p,share);
box.textContent=(+p.dataset.x0+share*(p.dataset.x1-p.dataset.x0)).toFixed(3)+' '+box.dataset.unit});
p.addEventListener('pointerleave',function(){lines(false);box.textContent=''})});
document.documentElement.dataset.plots=plots.length;
})();
"""


def content_policy() -> str:
    """Return the page's policy: nothing is loaded, no script runs but the page's own, known by its hash."""
    digest = base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()
    return f"default-src 'none'; style-src 'unsafe-inline'; img-src data:; script-src 'sha256-{digest}'"
