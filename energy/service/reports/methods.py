"""The methods that figures name: what they do and the paper or standard they follow."""

from __future__ import annotations

from collections.abc import Mapping

from energy.domain.report import Method

_ALL = (
    Method(
        "tracing",
        {"en": "Flow tracing", "ja": "潮流追跡"},
        {
            "en": "The mix at a bus is that of all power entering it (proportional sharing) on AC flows, "
            "both ends of each branch counted, so that losses have an account of their own. The upstream "
            "grid enters with its average intensity of the hour. Location-based and supplementary: it "
            "shows the city's own grid, and is not an official inventory figure.",
            "ja": "母線の電源構成は流入する全電力の構成とする（比例配分）。交流潮流計算の各ブランチ両端の"
            "電力を用い、損失は独立の勘定とする。上位系統は時間別の平均炭素強度で流入する。ロケーション"
            "基準の補足的な数値であり、公式の排出量ではない。",
        },
        "Bialek 1996; Kang et al., IEEE Trans. Smart Grid 6 (2015)",
    ),
    Method(
        "tank",
        {"en": "Storage as a mixing tank", "ja": "蓄電池の混合タンク"},
        {
            "en": "A storage mixes what is charged perfectly and gives its mix back; losses stay with the "
            "delivered energy. Carbon is carried from day to day in the store and counted once.",
            "ja": "蓄電池は充電した電力を完全に混合し、その構成で放電する。変換損失は供給した電力に含める。"
            "炭素は日をまたいで蓄電池に保持し、一度だけ計上する。",
        },
        "Wattshed, docs/carbon.md",
    ),
    Method(
        "interval",
        {"en": "Interval from factor ranges", "ja": "係数の幅による区間"},
        {
            "en": "Low and high are the same account with all factors at the lower, and all at the upper end "
            "of the range of their source; storages carry both ends from day to day, and either account "
            "closes. What can be negative may lie outside the two: its interval reaches to it. Errors of "
            "meters and of the model are not in it.",
            "ja": "下限・上限は全係数を出典の幅の下端・上端とした同じ計算の結果であり、蓄電池は両端を日を"
            "またいで保持し、収支はそれぞれで一致する。負になりうる数値は両端の外にあることがあり、区間は"
            "その値まで広げる。計測誤差とモデルの誤差は含まない。",
        },
        "IPCC AR5 WG3 (2014), Annex III",
    ),
    Method(
        "grid-average",
        {"en": "Official grid average", "ja": "公式の系統平均係数"},
        {
            "en": "Metered grid electricity times the official average factor of the grid (location-based); "
            "network losses times the official loss factor where there is one.",
            "ja": "系統から供給された電力量に公式の系統平均係数を乗じる（ロケーション基準）。損失は公式の"
            "損失係数がある場合に計上する。",
        },
        "GHG Protocol Scope 2 Guidance (2015), section 6.5; GPC 1.1 (2021), section 6.4",
    ),
    Method(
        "market-based",
        {"en": "Market-based", "ja": "マーケット基準"},
        {
            "en": "Contracts and certificates first, each cancelled once; the rest at the residual mix or a "
            "declared fallback.",
            "ja": "契約と証書を先に充当し、各証書は一度だけ償却する。残りは残余ミックスまたは申告した"
            "代替係数による。",
        },
        "GHG Protocol Scope 2 Guidance (2015), chapters 6 and 7",
    ),
    Method(
        "marginal",
        {"en": "Marginal (consequential), upstream", "ja": "限界（帰結的）・上位系統"},
        {
            "en": "What a change of load causes: the change of every hour times the upstream's marginal "
            "intensity, at every bus alike. "
            "Never part of an inventory; not estimated (NE) where no marginal intensity is known.",
            "ja": "需要の変化がもたらす排出量：時間別の変化量に上位系統の限界炭素強度を全母線一律で乗じる。"
            "排出目録には含めない。限界強度が不明な場合はNEとする。",
        },
        "Wattshed, docs/carbon.md",
    ),
    Method(
        "marginal-dispatch",
        {"en": "Marginal (consequential), dispatch", "ja": "限界（帰結的）・給電計画"},
        {
            "en": "What a change of load causes: the draw of every step times the derivative of the system's "
            "emissions with the day's optimal dispatch at that bus, with network losses, full lines, voltage "
            "limits and what storage does about it. Where a kWh more and one less differ it is that of more. "
            "Never part of an inventory; not estimated (NE) where no marginal intensity is known.",
            "ja": "需要の変化がもたらす排出量：各ステップの受電量に、その母線における最適給電計画の"
            "系統排出量の微分（損失・混雑・電圧制約・蓄電池の応答を含む）を乗じる。増減で異なる場合は増加側とする。"
            "排出目録には含めない。限界強度が不明な場合はNEとする。",
        },
        "Fuentes Valenzuela et al., IEEE Trans. Power Systems (2024), arXiv 2302.14282",
    ),
    Method(
        "marginal-mixed",
        {"en": "Marginal (consequential), days of both", "ja": "限界（帰結的）・併用"},
        {
            "en": "By the dispatch of each day where the day has its rates, else at the upstream's marginal "
            "intensity at every bus; a notice says of how many hours.",
            "ja": "給電計画の限界係数がある日はそれにより、ない日は全母線に上位系統の限界炭素強度を適用する。"
            "対象時間の割合は注記に示す。",
        },
        "Fuentes Valenzuela et al., IEEE Trans. Power Systems (2024), arXiv 2302.14282",
    ),
    Method(
        "cfe",
        {"en": "24/7 carbon-free energy", "ja": "24/7カーボンフリー電力"},
        {
            "en": "Share of use met by carbon-free energy in its own hour; what is left over in "
            "one hour serves no other.",
            "ja": "各時間の使用電力量のうち同じ時間のカーボンフリー電力で賄われた割合。余剰は他の時間に"
            "充当しない。",
        },
        "Google, 24/7 Carbon-Free Energy: Methodologies and Metrics (2021)",
    ),
    Method(
        "ev",
        {"en": "Carbon of EVs", "ja": "EVの炭素"},
        {
            "en": "Charging brings the traced carbon of its bus and hour into the battery; driving and V2G "
            "take the battery's mix out: driven + exported + change = charged. No avoided grams are "
            "deducted.",
            "ja": "充電はその母線・時間の追跡炭素を電池に取り込み、走行とV2Gは電池内の構成で取り出す："
            "走行＋放電＋残量変化＝充電。回避量は差し引かない。",
        },
        "Wattshed, docs/carbon.md",
    ),
    Method(
        "stations",
        {"en": "Carbon of hydrogen and swaps", "ja": "水素・電池交換の炭素"},
        {
            "en": "The store of a station is a mixing tank: it takes in the traced carbon of its bus and "
            "hour and gives its mix to vehicles and back to the grid: taken + given back + change = charged. "
            "Hydrogen counts as the electricity that makes it; what machines lose stays with what they "
            "deliver.",
            "ja": "ステーションの貯蔵は混合タンクとし、その母線・時間の追跡炭素を取り込み、車両と系統へ"
            "構成どおり渡す：供給＋返送＋残量変化＝充電。水素は製造電力で計上し、機器の損失は供給側に含める。",
        },
        "Wattshed, docs/carbon.md",
    ),
    Method(
        "gpc",
        {"en": "City inventory", "ja": "都市の排出目録"},
        {
            "en": "Sectors and scopes of the GPC. Electricity by user class of the assets; no kWh both in "
            "stationary energy and in transport; generation fed into the grid (I.4.4) is territorial and in "
            "no BASIC total. Everything else is the officer's own entry.",
            "ja": "GPCの部門とスコープ。電力は需要家区分別に計上し、固定発生源と運輸の二重計上はない。"
            "系統への発電（I.4.4）は領域排出であり、BASICには含めない。その他は担当者の入力による。",
        },
        "GPC 1.1 (WRI, C40, ICLEI, 2021)",
    ),
    Method(
        "targets",
        {"en": "Targets and paths", "ja": "目標と経路"},
        {
            "en": "Linear between base year and milestones; the budget is the sum of the path over the "
            "years; the year's end from last year's season or, without one, from the mean of the days so "
            "far.",
            "ja": "基準年と目標年の間は直線経路とし、炭素予算は経路の累計とする。年末値は前年の季節変動、"
            "ない場合は経過日の平均から推計する。",
        },
        "GHG Protocol Mitigation Goal Standard (2014)",
    ),
    Method(
        "avoided",
        {"en": "Avoided emissions", "ja": "削減貢献量"},
        {
            "en": "The stored counterfactual (charging on arrival, storage idle, nothing curtailed) less "
            "what happened, less leakage: energy left in storages that differs.",
            "ja": "保存された反事実（到着時充電・蓄電池停止・出力抑制なし）から実績とリーケージ（蓄電残量の"
            "差）を差し引く。",
        },
        "GHG Protocol for Project Accounting (2005), chapters 8 and 9",
    ),
    Method(
        "indicators",
        {"en": "Indicators", "ja": "指標"},
        {
            "en": "Self-consumption is local generation that is not sent out over all local generation; "
            "self-sufficiency is the same energy over all that was supplied; by hour.",
            "ja": "自家消費率は域外に送られない地域内発電量の割合、自給率は同じ電力量の全供給量に対する割合"
            "（時間別）。",
        },
        "Luthander et al., Applied Energy 142 (2015)",
    ),
)
METHODS: Mapping[str, Method] = {method.id: method for method in _ALL}
