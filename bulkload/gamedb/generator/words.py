"""The words that names and texts are made of. All of it is invented for this project."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import attrs

from bulkload.gamedb.generator.dice import Dice


def split(words: str) -> tuple[str, ...]:
    """The words between spaces: as a list of literals each would take a line."""
    return tuple(words.split())


QUALITIES = split(
    "Battered Brazen Burnished Charred Cobbled Crooked Dented Drab Dusky Etched Faded Forked Frayed Gilded Glazed "
    "Grooved Hardened Hollow Inlaid Knotted Lacquered Mended Mottled Oiled Pale Patched Pitted Plain Polished Quilted "
    "Ridged Riveted Rusted Salvaged Scorched Sealed Shaped Slender Smoked Soft Stamped Stout Tarnished Tempered "
    "Threaded Tinted Trimmed Twisted Veined Waxed Weighted Woven"
)
MATERIALS = split(
    "Alderwood Amberglass Basalt Bonewhite Briarsteel Brinestone Cindercloth Clayplate Copperweave Coral Driftfibre "
    "Emberglass Fernsilk Flint Frostwire Gallium Gravelhide Greyfelt Ironbark Kelpweave Lampblack Marlstone Mirewool "
    "Moonchalk Nickelmesh Oakhorn Palegold Quartzine Reedmail Saltglass Sandcrete Slateskin Sootleather Tallowhide "
    "Tinfoil Umberplate Verdigris Wickerbone Windcloth Zincweave"
)
PLACES = split(
    "Aldermoor Bexhollow Cairnwick Dunvale Eastmarl Fennick Gorsedale Harrowmere Isenford Jorvale Kestrelhay Lowmarch "
    "Murkwater Nethercombe Ostrand Pellmoor Quillstead Ravensby Stonnard Thornwick Ulverton Vexley Wendmoor Yarrowby"
)
WEAPONS = split(
    "Carbine Cleaver Crossbow Cutlass Dart-Thrower Flail Glaive Harpoon Hatchet Longbow Mace Mallet Pike Pistol Rifle "
    "Sabre Scattergun Sling Spear Stiletto Stave Trident"
)
GARMENTS = split(
    "Apron Belt Boots Bracer Cap Cloak Coat Collar Cuirass Gauntlets Gloves Goggles Greaves Helm Hood Jacket Leggings "
    "Mantle Mask Pauldron Sandals Sash Scarf Sleeves Tabard Vest Visor"
)
TOOLS = split(
    "Ampoule Balm Beacon Candle Capsule Charm Crystal Decoder Draught Flare Injector Key Lantern Lens Phial Poultice "
    "Projector Ration Salve Scroll Tonic Whistle"
)
THINGS = split(
    "Bale Bearing Bolt Bracket Cask Chip Coil Crate Dial Filament Gasket Gear Gem Hinge Ingot Jar Ledger Lever Pebble "
    "Pellet Pipe Plank Ring Rod Scrap Shard Sheet Spool Spring Tile Tube Valve"
)
PROGRAMS = split(
    "Ague Balance Blight Cadence Calm Chill Drain Echo Fervour Focus Grace Haze Hush Jolt Lull Mend Numbness Pulse "
    "Rally Rebuke Rush Shelter Snare Soothe Surge Tether Veil Vigour Ward Wither"
)
SKILLS: Mapping[int, str] = dict(
    enumerate(
        split(
            "Angling Appraisal Archery Balance Barter Brewing Carpentry Climbing Cooking Courage Divining Dodging "
            "Endurance Engraving Fencing Fletching Foraging Glazing Grappling Haggling Healing Herding Hiding Insight "
            "Joinery Juggling Listening Lockwork Masonry Memory Mending Mining Navigation Patience Piloting Poise "
            "Quickness Resolve Riding Rigging Sewing Signals Smelting Sprinting Stealth Strength Surveying Swimming "
            "Tracking Trapping Tuning Vision Weaving Whittling Wrestling Writing"
        ),
        start=100,
    )
)
"""What stats are called that a spell changes or a criterion asks for, by the stat's number."""

_OPENINGS = (
    "A favourite of the porters of {place}",
    "Every guard in {place} has owned one of these",
    "It hums quietly when held near {material}",
    "Made of {material}, and heavier than it looks",
    "Nobody in {place} remembers who made the first of them",
    "Someone has scratched a name into the {material}",
    "The back is lined with {material}",
    "The makers of {place} stamp a small wheel on the underside",
    "This one has seen rain, salt and worse",
    "Whoever wears it is let through the gates of {place}",
    "You can feel the {material} grow warm",
    "“Keep it dry”, says the label in the hand of a clerk from {place}",
)
_ENDINGS = (
    ", or so the story goes.",
    ", which is why it costs what it costs.",
    "; do not drop it.",
    ", though the seams tell of repairs.",
    "!",
    ", and it still works.",
    " – ask at the café in {place}.",
    ', as the guild\'s "second rule" demands.',
    ".",
    ". It raises {skill} a little.",
    ".\nIt asks for some {skill}.",
    ".<br>Goes well with anything made of {material}.",
)


@attrs.frozen
class Phrases:
    """Sentences made once and used over and over: making each anew would be most of the run's time."""

    sentences: Sequence[str]

    @classmethod
    def of(cls, dice: Dice) -> Phrases:
        """As many sentences as keep descriptions apart."""
        skills = tuple(SKILLS.values())
        return cls(
            tuple(
                (dice.pick(_OPENINGS) + dice.pick(_ENDINGS)).format(
                    place=dice.pick(PLACES), material=dice.pick(MATERIALS).lower(), skill=dice.pick(skills)
                )
                for _ in range(3_000)
            )
        )

    def text(self, dice: Dice) -> str:
        """A description: mostly short, at times a page."""
        count = 1 + dice.low(8) if dice.random() < 0.97 else 8 + dice.low(20)
        return " ".join([dice.pick(self.sentences) for _ in range(count)])
