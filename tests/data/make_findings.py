#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Make findings for benchmarks and tests, as `patrol record --from` takes them (NDJSON).

Usage: make_findings.py [--count N] [--seed S] [--observed] [--observed-spacing-s S] [-o FILE]

The same arguments give the same bytes. The findings look like what a city's service desk and its
inspectors write: half are terse inspection notices with nothing but an address, a third are citizens'
requests with the department's long standard answer, the rest are Chinese patrol notes and a few free
texts; places repeat as they do in a city. Lengths and compressibility are those of real request lists
(mean note about 116 bytes; a finding takes about 24 bytes by `xz -9` and 44 by `zlib -9`, or 18 and 35
without source and reported_at), so that figures measured with this file mean something. All texts are
made up here.

--observed adds observed_at, drawn at exponential intervals that average the given spacing. The last one
is near a fixed date, never "now", and none is later than it.
"""

import argparse
import bisect
import datetime
import itertools
import json
import random
import sys

CHINA = datetime.timezone(datetime.timedelta(hours=8))
LAST_OBSERVED = datetime.datetime(2026, 10, 30, 18, 0, tzinfo=CHINA)

SEVERITIES = ["normal", "serious", "minor", "urgent"]
SEVERITY_WEIGHTS = [50, 17, 17, 16]

# The accuracy that receivers report, by quantile.
ACCURACY_QUANTILES = [0, 0.1, 0.25, 0.5, 0.75, 0.9, 1]
ACCURACIES_M = [2.0, 3.2, 5.2, 8.3, 13.6, 17.4, 19.9]

NAME_STARTS = (
    "Alder Amber Ash Barn Beck Birch Black Bram Bridge Broad Brook Burn Cald Castle Chal Cherry Cliff Copper "
    "Crow Dale Deep Elder Elm Fair Fern Field Glen Gold Grange Green Hart Haw Hazel Heath High Holly "
    "Iron Kestrel King Lark Lime Linden Long Lyn Maple Marsh Mead Mill Moor North Oak Orchard Park Pine Quarry "
    "Raven Red Ridge Rose Sand Silver South Stan Stone Thorn Wald Well West White Willow Winter Wood Yar"
).split()
NAME_ENDS = "bourne bury combe croft dale don field ford gate ham hurst leigh ley mere more side ton wick worth".split()
SUFFIXES = ["AVE", "ST", "ST", "AVE", "RD", "BLVD", "DR", "PL"]
LONG_SUFFIXES = ["ROAD", "STREET", "AVENUE", "LANE", "GARDENS", "TERRACE", "DRIVE", "PLACE"]

# (weight, matter, type, details): what citizens ask a service desk for. The first details are the frequent ones.
REQUESTS = [
    (19, "06028", "Noise from a home", ["Loud music or party", "Banging and pounding", "Loud talking"], "wardens"),
    (13, "09009", "Car parked wrongly", ["Pavement blocked", "Against a posted sign", "Double parked overnight", "At a hydrant"], "wardens"),
    (9, "06042", "Missed refuse collection", ["Household refuse", "Recycling", "Garden waste", "Whole street missed"], "refuse"),
    (8, "01025", "No heating or hot water", ["Entire building", "One flat only"], "housing"),
    (7, "06035", "Bulky waste pick-up", ["Furniture", "Large appliance", "Mattress left at the kerb", "Mixed items"], "refuse"),
    (6, "02019", "Driveway blocked", ["No access", "Partial access"], "wardens"),
    (6, "01037", "Street light fault", ["Lamp is out", "Lamp flickers all night", "Column leans", "Cable exposed at the base", "Lit in daytime"], "lighting"),
    (5, "06013", "Road surface", ["Pothole", "Cave-in", "Failed repair of a trench", "Rough or missing surface"], "roads"),
    (4, "06028", "Noise in the street", ["Loud music or party", "Engine idling", "Car or lorry horn", "Loud talking"], "wardens"),
    (4, "04002", "Damaged tree", ["Branch hangs down", "Entire tree has fallen", "Trunk is split", "Roots lift the pavement"], "parks"),
    (3, "01003", "Water and drains", ["Manhole overflows", "Street floods after rain", "Gully is blocked", "Foul smell from a drain"], "water"),
    (3, "01001", "Water supply", ["Leak in the carriageway", "No water at all", "Low pressure", "Hydrant runs open"], "water"),
    (2, "06012", "Dirty conditions", ["Litter on the pavement", "Overfull basket", "Dog fouling", "Broken glass"], "refuse"),
    (2, "02014", "Traffic signal", ["Controller is dark", "All lamps are out", "Pedestrian phase too short", "Signal head turned"], "roads"),
    (2, "06034", "Derelict vehicle", ["Without number plates", "Burnt out", "On private land"], "wardens"),
    (2, "06021", "Rodents", ["Rat seen", "Signs of mice", "Conditions that attract rats"], "health"),
    (1, "02012", "Street sign", ["Missing", "Bent", "Faded or dirty", "Points the wrong way"], "roads"),
    (1, "06010", "Fly-tipping", ["Rubble", "Black sacks", "Tyres", "Asbestos suspected"], "refuse"),
    (1, "03001", "Public toilet", ["Locked in opening hours", "Not clean", "Door broken", "No water"], "parks"),
    (1, "07001", "Graffiti and posters", ["On a public building", "On a private wall", "On a utility box"], "refuse"),
    (1, "08004", "Building site", ["Dust not kept down", "Work outside permitted hours", "Hoarding unsafe", "No permit shown"], "housing"),
    (1, "09006", "Street trading", ["No licence shown", "Pavement blocked", "Food sold in the open"], "health"),
    (1, "06037", "Dead animal", ["On the carriageway", "In a park", "On the pavement"], "refuse"),
    (1, "06051", "Pavement", ["Broken slab", "Tactile paving lost", "Kerb missing", "Trip hazard"], "roads"),
    (1, "06026", "Water quality", ["Oil on the river", "Foam", "Unusual colour"], "water"),
    (1, "09003", "Rough sleeping", ["Person needs help", "Tent in a park", "Doorway occupied"], "wardens"),
]

# By department: the standard answers, the frequent one first.
ANSWERS = {
    "wardens": [
        "Street wardens attended and, with the details that were given, saw nothing at the time that they could act on.",
        "Street wardens attended and those who had caused the problem were no longer there when they arrived.",
        "Street wardens attended and took steps to put an end to the problem.",
        "Street wardens have looked into the report. What they found does not call for any action on their part; no further visit is planned.",
        "Street wardens attended and issued a penalty notice for what they saw.",
        "Street wardens could not get into the premises. If the problem comes back, please file another report and say how the door can be reached.",
        "This report was closed because the details given for the caller were not enough to trace the place. Please send a fresh report with a full name, a telephone number and the nearest house number.",
    ],
    "refuse": [
        "The refuse service has passed this report on to the depot that looks after the street, which will deal with it on its next round.",
        "The refuse service has gathered the items that were put out. Nothing else is needed from you.",
        "The refuse service sent an inspector, who found the place clean when he called.",
        "The refuse service has cleaned the place that was reported. Should waste be left there again, please tell us the day and the hour when it happens so that an officer can be sent at that time of day.",
        "The refuse service looked for the items on two mornings without finding them. If they are still there, please book another pick-up and put them out at the kerb after eight in the evening before the appointed day.",
    ],
    "housing": [
        "The fault that you told us about has not been put right yet. A housing officer may telephone to ask whether the repair has been made, or may call at the building to see for himself.",
        "A housing officer has inspected the place that was reported. He served a notice on the owner, who must put the fault right within the time that the law allows.",
        "The owner states that the fault has been mended. A housing officer asked the tenant, who confirmed it, and the report was therefore closed.",
        "A housing officer called more than once at the address given and nobody opened. The report was closed; a new one can be made by telephone at any hour of the day.",
    ],
    "lighting": [
        "The lighting contractor has the fault on its list, with ten working days to mend it.",
        "The lighting contractor tested the column and found it in order.",
        "The lighting contractor made the column safe. The lamp will be put back once the electricity company has restored the supply, which has often taken a month or more.",
    ],
    "roads": [
        "The highways team inspected the place and has ordered a repair.",
        "The highways team has made good what was reported. The surface will be looked at again at the next survey of the street.",
        "The highways team inspected the place. The defect is too small for a repair under the present rules, so the report was closed; please write again should it grow.",
        "The highways team found that the opening belongs to a utility company, which was told to reinstate it. The company has thirty days, after which we do the work at its cost.",
    ],
    "parks": [
        "The parks service will look at fallen branches within four days and at all other trees within eight. Work that is found to be needed is put in the order of the danger it brings, which may take six weeks in the season of storms. Please keep the number of your report so that you can ask how far it has got.",
        "The parks service has examined what was reported and will send a crew.",
        "The parks service has done the work that was called for at this place.",
        "The parks service visited the place and found nothing that would justify work on the tree this year.",
    ],
    "water": [
        "The water company has investigated the report and has put right what it found.",
        "The water company came and could not find the fault that was reported.",
        "The water company found that the pipe belongs to the house. Its owner was told what has to be mended, and has to see to it at his own cost.",
        "The water company has cleared the sewer and will come back to survey it with a camera, as it was blocked before in the same year.",
    ],
    "health": [
        "Public health will inspect the premises within fourteen days of this report.",
        "Public health has inspected the premises and given the owner a list of what has to be done. A second visit will show whether it was; costs are charged if it was not.",
        "Public health has already had a report about the same place, and deals with both together.",
    ],
}

# What departments add to an answer of theirs.
CLOSINGS = [
    "You can follow what happens on the city's website under the number of your report.",
    "If you do not agree, write to the head of the service within twenty-one days and quote this answer.",
    "Your report was joined with others about the same address, so that you may not hear from us again about this one, although the work goes on.",
    "Photographs help us to find the place more quickly; they can be added to a report for as long as it is open.",
    "Because of the number of reports after last week's weather, replies and repairs are taking about twice as long as they normally do at this time of the year. We are sorry for that.",
    "Please do not move anything yourself.",
    "In an emergency, or where somebody may be hurt, telephone the control room, which is staffed day and night, rather than using the online form.",
    "Work of this kind is done at night, so there may be noise, and parking may be suspended for some hours. Signs will be put up three days before, and vehicles left there are taken to the nearest free space.",
    "The land is private and its owner has been written to.",
    "This is the second report about the place this year and the area manager has been told.",
]

FREE_PLACES = ["by the school gate", "next to the chemist", "behind the bus shelter", "at the far corner", "under the railway arch", "opposite the bakery", "near the playground", "in front of the library", "at the foot of the steps", "beside the canal lock"]
FREE_THINGS = [("06010", "black sacks"), ("06034", "an old van"), ("01004", "a drain grate"), ("06013", "a deep hole"), ("02017", "a bent railing"), ("04007", "a broken bench"), ("01037", "a dark lamp"), ("06036", "a heap of pallets"), ("02038", "a loose number plate"), ("06043", "a torn awning")]
FREE_SINCES = ["since Monday", "for three weeks", "since the storm", "again after it was cleared", "every weekend", "for months", "since the roadworks ended", "as of this morning"]
FREE_ENDS = ["children pass here every day", "please ring before you come", "a neighbour has told you twice already", "somebody will get hurt", "it smells badly in the heat", "wheelchairs cannot get by", "thank you for your help", "the photo shows it"]

ROAD_FIRST = "安宝昌长城春德东发福光广和恒鸿华金锦景康乐丽龙民明南平青庆仁荣瑞三盛顺泰天文祥新兴学阳永裕云中紫"
ROAD_SECOND = "安北昌川达东芳丰福港光桂海河和湖华江康林陵龙门民明宁平浦泉山盛水泰棠溪霞祥秀阳园源月云洲"
LANE_PROBLEMS = [
    ("06036", "消防车难以通过的窄巷"),
    ("09012", "消防通道被占用的窄巷"),
]
# (matter, rule, finding)
SITE_RULES = [
    ("08007", "工地管理细则第六条", "围挡高度不足或者破损未及时修补。"),
    ("08004", "工地管理细则第九条第二款", "裸土未覆盖，喷淋设施没有开启。"),
    ("08012", "工地管理细则第十一条", "出入口未设冲洗设备，车轮带泥上路。"),
    ("08001", "工地管理细则第十四条", "未取得夜间施工许可而在夜间施工。"),
    ("08006", "工地管理细则第十五条第一款", "物料堆放在围挡以外的人行道上。"),
    ("08015", "工地管理细则第三条", "公示牌内容不全，联系电话无人接听。"),
    ("08010", "工地管理细则第二十条", "完工之后七日内没有清理场地。"),
    ("09005", "沿街经营规范第四条", "商品摆放超出门窗外墙。"),
    ("09006", "沿街经营规范第五条", "占用人行道设摊，行人只能走车行道。"),
    ("07006", "沿街经营规范第八条第三款", "招牌未经登记，安装不牢固。"),
    ("06027", "沿街经营规范第十二条", "油烟净化装置未运行，直接排放。"),
    ("06042", "生活垃圾分类办法第七条", "收集容器满溢，没有按时清运。"),
    ("06041", "生活垃圾分类办法第十条", "混合投放，督导员不在岗。"),
]


class Zipf:
    """Draws items so that the n-th is drawn about 1/(n + shift)^exponent as often as the first."""

    def __init__(self, items, exponent, shift=0.0):
        self.items = items
        self.sums = list(itertools.accumulate((n + 1 + shift) ** -exponent for n in range(len(items))))

    def draw(self, rng):
        return self.items[bisect.bisect(self.sums, rng.random() * self.sums[-1])]


def draw_accuracy_m(rng):
    at = rng.random()
    n = bisect.bisect(ACCURACY_QUANTILES, at, hi=len(ACCURACY_QUANTILES) - 1)
    low, high = ACCURACY_QUANTILES[n - 1], ACCURACY_QUANTILES[n]
    share = (at - low) / (high - low)
    return round(ACCURACIES_M[n - 1] + share * (ACCURACIES_M[n] - ACCURACIES_M[n - 1]), 1)


def make_names(rng):
    """All street names of a city, in the order of how often they are met."""
    names = [start + end for start in NAME_STARTS for end in NAME_ENDS]
    rng.shuffle(names)
    return names


class InspectionList:
    """A city on a grid: every finding is the same notice, and only the place tells them apart."""

    share, source = 0.5258, "inspections"

    def __init__(self, rng):
        names = [f"{rng.choice('NESW')} {name.upper()} {rng.choice(SUFFIXES)}" for name in make_names(rng)[:900]]
        self.streets = Zipf([(name, rng.uniform(45.43, 45.65), rng.uniform(-122.83, -122.47)) for name in names], 0.62)
        self.places = []
        self.serial = 1189800

    def place(self, rng):
        # A place that was found fault with is inspected again, mostly before long.
        if self.places and rng.random() < 0.177:
            age = int(min(rng.expovariate(1 / 600), len(self.places) - 1))
            return self.places[-1 - age]
        street, lat, lon = self.streets.draw(rng)
        number = int(rng.triangular(1, 9900, 2200))
        along = (number - 4000) / 9900
        if street[0] in "NS":
            at = (45.54 + 0.2 * along, lon)
        else:
            at = (lat, -122.65 + 0.3 * along)
        return (f"{number} {street}", at[0] + rng.gauss(0, 1e-4), at[1] + rng.gauss(0, 1e-4))

    def draw(self, rng):
        address, lat, lon = place = self.place(rng)
        self.places.append(place)
        self.serial += int(rng.expovariate(1 / 90)) + 1
        day = datetime.date(2025, 3, 1) + datetime.timedelta(days=len(self.places) // 40)
        return "06012", f"Street cleaning notice; {address}", lat, lon, f"25-{self.serial:08}", day.isoformat()


class RequestList:
    """A city whose service desk notes type, detail, the department's answer and the address."""

    share, source = 0.339, "requests"

    def __init__(self, rng):
        names = [f"{name.upper()} {rng.choice(LONG_SUFFIXES)}" for name in make_names(rng)]
        names += [f"{side}{n} STREET" for side in ("EAST ", "WEST ", "") for n in range(1, 130)]
        rng.shuffle(names)
        self.streets = Zipf(names, 0.55)
        self.weights = [row[0] for row in REQUESTS]
        self.places = []

    def place(self, rng):
        if self.places and rng.random() < 0.187:
            return rng.choice(self.places)
        street = self.streets.draw(rng)
        if rng.random() < 0.12:
            address = f"{street} & {self.streets.draw(rng)}"
        elif rng.random() < 0.2:
            address = f"{rng.randint(1, 140)}-{rng.randint(1, 99):02} {street}"
        else:
            address = f"{int(rng.expovariate(1 / 600)) + 1} {street}"
        return (address, rng.triangular(51.40, 51.56), rng.triangular(-2.72, -2.50))

    def draw(self, rng):
        _, matter, kind, details, department = rng.choices(REQUESTS, self.weights)[0]
        detail = details[min(int(rng.expovariate(0.9)), len(details) - 1)]
        answers = ANSWERS[department]
        # The answer follows from the detail more than from anything else.
        usual = (len(kind) + len(detail)) % len(answers) // 2
        answer = answers[usual if rng.random() < 0.68 else min(int(rng.expovariate(0.7)), len(answers) - 1)]
        if rng.random() < 0.36:
            answer += " " + CLOSINGS[min(int(rng.expovariate(0.28)), len(CLOSINGS) - 1)]
        place = self.place(rng)
        self.places.append(place)
        minutes = int(rng.triangular(0, 24 * 60, 19 * 60))
        at = datetime.datetime(2025, 6, 14, minutes // 60 % 24, minutes % 60)
        note = f"{kind}; {detail}; {answer}; {place[0]}"
        return matter, note, place[1], place[2], f"406{rng.randint(7000, 19999):05}", at.isoformat() + "+01:00"


class LaneList:
    """A Chinese district's list of lanes that fire engines cannot pass."""

    share, source = 0.0751, "lanes"

    def __init__(self, rng):
        self.serial = 0

    def draw(self, rng):
        self.serial += 1
        matter, problem = LANE_PROBLEMS[rng.random() < 0.06]
        road = rng.choice(ROAD_FIRST) + rng.choice(ROAD_SECOND) + rng.choice(["路", "路", "街", "大道", "里"])
        lane = f"{road}{rng.randint(2, 800)}弄" if rng.random() < 0.8 else f"{road}{rng.randint(2, 400)}号旁支巷"
        low = rng.randint(1, 120)
        if rng.random() < 0.3:
            lane = f"{rng.choice(ROAD_FIRST)}{rng.choice(ROAD_SECOND)}社区{lane}"
        houses = rng.choice(
            [
                f"{low}号至{low + rng.randint(4, 60)}号",
                f"{low}号至{low + rng.randint(4, 60)}号",
                f"{lane}内约{rng.randint(4, 60)}户居民",
                f"{low}、{low + 2}、{low + 3}、{low + 7}号，其余无门牌",
                f"单号{rng.randint(3, 30)}幢、双号{rng.randint(3, 30)}幢",
            ]
        )
        note = f"{problem}; 巷道名称：{lane}；长度（米）：{rng.choice([rng.randint(4, 40) * 10, rng.randint(40, 400)])}；实际宽度（米）：{rng.choice(['2', '2.5', '3', '3', '3.5', '1.8', '4', '2.2'])}；受影响房屋的门牌号码：{houses}"
        return matter, note, rng.uniform(30.55, 30.78), rng.uniform(103.93, 104.20), f"cd26-{self.serial}", None


class SiteList:
    """Breaches that Chinese inspectors found, in the words of the rule; one or two at a time."""

    share, source = 0.06, "sites"

    def __init__(self, rng):
        combinations = [[rule] for rule in SITE_RULES]
        combinations += [list(pair) for pair in itertools.permutations(SITE_RULES, 2)]
        singles, pairs = combinations[: len(SITE_RULES)], combinations[len(SITE_RULES) :]
        rng.shuffle(singles)
        rng.shuffle(pairs)
        self.breaches = Zipf(singles + pairs, 1.05)
        self.places = []

    def draw(self, rng):
        rules = self.breaches.draw(rng)
        if self.places and rng.random() < 0.11:
            lat, lon = rng.choice(self.places)
        else:
            lat, lon = rng.triangular(31.10, 31.36), rng.triangular(121.30, 121.62)
        self.places.append((lat, lon))
        note = f"{'及'.join(rule[1] for rule in rules)}; {''.join(rule[2] for rule in rules)}"
        day = datetime.date(2024, 1, 2) + datetime.timedelta(days=rng.randint(0, 700))
        return rules[0][0], note, lat, lon, f"sh-{rng.randint(1, 1300)}", day.isoformat()


class FreeTextList:
    """What people write when a form lets them."""

    share, source = 0.0091, "letters"

    def __init__(self, rng):
        self.names = make_names(rng)

    def draw(self, rng):
        matter, thing = rng.choice(FREE_THINGS)
        note = f"There has been {thing} {rng.choice(FREE_PLACES)} {rng.choice(FREE_SINCES)} - {rng.choice(FREE_ENDS)}"
        if rng.random() < 0.4:
            note += f" | Number: {rng.choice('ABCDEFGH')}{rng.randint(1000000, 9999999)}"
        note += f"; {rng.randint(1, 9000)} {rng.choice(self.names)} {rng.choice(SUFFIXES).title()}"
        at = datetime.datetime(2025, 9, 1) + datetime.timedelta(seconds=rng.randint(0, 10**7))
        return matter, note, rng.uniform(29.91, 30.05), rng.uniform(-90.14, -89.95), f"{rng.randint(10**5, 10**6)}", at.isoformat() + "Z"


def make_findings(count, seed, observed_spacing_s=None):
    """Yield the findings as dictionaries, in the order of observation."""
    rng = random.Random(seed)
    lists = [kind(rng) for kind in (InspectionList, RequestList, LaneList, SiteList, FreeTextList)]
    shares = [each.share for each in lists]
    times = None
    if observed_spacing_s is not None:
        times = observe(count, random.Random(f"observed {seed}"), observed_spacing_s)
    for n in range(count):
        chosen = rng.choices(lists, shares)[0]
        matter, note, lat, lon, serial, reported_at = chosen.draw(rng)
        finding = {
            "category": matter,
            "severity": rng.choices(SEVERITIES, SEVERITY_WEIGHTS)[0],
            "note": note,
            "lat": round(lat, 7),
            "lon": round(lon, 7),
            "accuracy_m": draw_accuracy_m(rng),
        }
        if times is not None:
            finding["observed_at"] = times[n].isoformat(timespec="milliseconds")
        finding["source"] = f"{chosen.source}:{serial}"
        finding["reported_at"] = reported_at
        yield finding


def observe(count, rng, spacing_s):
    """Return the times of observation, rising, the last one just before LAST_OBSERVED."""
    times, back_s = [], 0.0
    for _ in range(count):
        back_s += rng.expovariate(1 / spacing_s)
        times.append(LAST_OBSERVED - datetime.timedelta(seconds=back_s))
    return times[::-1]


def main():
    parser = argparse.ArgumentParser(description="Make findings for benchmarks and tests (NDJSON).")
    parser.add_argument("--count", type=int, default=10000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--observed", action="store_true", help="add observed_at")
    parser.add_argument("--observed-spacing-s", type=float, default=150.0, help="mean interval (150)")
    parser.add_argument("-o", "--output", type=argparse.FileType("w", encoding="utf-8"), default=sys.stdout)
    arguments = parser.parse_args()
    spacing_s = arguments.observed_spacing_s if arguments.observed else None
    for finding in make_findings(arguments.count, arguments.seed, spacing_s):
        arguments.output.write(json.dumps(finding, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
