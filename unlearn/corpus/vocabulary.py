"""The words that made-up people are made of: names, places, products and what breaks.

Surnames are a stem and an ending, so that a small vocabulary names thousands. Plain ASCII, no real firm or town meant.
"""

# fmt: off
WOMEN = (
    "Ada", "Alice", "Amber", "Anna", "Beth", "Carla", "Clara", "Cora", "Dana", "Diane", "Edith", "Elena",
    "Ella", "Emma", "Erin", "Eva", "Fiona", "Gail", "Grace", "Greta", "Hazel", "Helen", "Ida", "Irene", "Iris",
    "Jane", "Joan", "Julia", "Karen", "Laura", "Leah", "Lena", "Lucy", "Mabel", "Maria", "Marta", "Nina",
    "Nora", "Olive", "Paula", "Rosa", "Ruth", "Sara", "Sonia", "Tessa", "Tina", "Vera", "Wanda",
)
MEN = (
    "Adam", "Alan", "Albert", "Amos", "Ben", "Boris", "Bruno", "Carl", "Cyrus", "Dan", "David", "Derek",
    "Edgar", "Eli", "Eric", "Felix", "Frank", "Fred", "Glen", "Gus", "Harry", "Henry", "Hugo", "Ian", "Ivan",
    "Jack", "Jonas", "Karl", "Keith", "Leo", "Lewis", "Louis", "Marco", "Martin", "Max", "Miles", "Neil",
    "Noah", "Omar", "Oscar", "Paul", "Peter", "Ralph", "Rory", "Simon", "Tom", "Victor", "Walter",
)
STEMS = (
    "Ald", "Ash", "Bar", "Beck", "Bell", "Birch", "Black", "Brad", "Bram", "Brook", "Carl", "Cath", "Chal",
    "Clay", "Cold", "Crom", "Dal", "Dray", "East", "Edge", "El", "Fair", "Farn", "Fen", "Fern", "Glad", "Gold",
    "Gran", "Hal", "Har", "Hart", "Hazel", "Heath", "Hol", "Hurst", "Kel", "Ken", "Kings", "Lang", "Lin",
    "Lock", "Mal", "Mar", "Mel", "Mer", "Mill", "Moor", "Nor", "Oak", "Old", "Pem", "Pen", "Pres", "Quin",
    "Red", "Rock", "Rush", "Sand", "Sel", "Sher", "Stan", "Stock", "Thorn", "Til", "Wal", "War", "Wen", "West",
    "Whit", "Win", "Wood", "York",
)
ENDINGS = (
    "bourne", "bridge", "bury", "by", "combe", "cott", "croft", "dale", "den", "don", "field", "fold", "ford",
    "gate", "grave", "ham", "hurst", "land", "leigh", "ley", "low", "man", "mere", "mont", "more", "ridge",
    "shaw", "stead", "ster", "stone", "ton", "wade", "wall", "ward", "well", "wick", "worth",
)
CITIES = (
    "Alderbrook", "Ashport", "Belmont", "Bridgeway", "Brinsley", "Carrow", "Clifton", "Coldwater", "Cresthill",
    "Dunmore", "Eastvale", "Fairhaven", "Glenrock", "Graymoor", "Harwick", "Highfield", "Kingsley", "Lakewood",
    "Larkspur", "Linden", "Maplewood", "Marston", "Millbrook", "Northgate", "Oakhurst", "Pinefield", "Redcliff",
    "Riverton", "Rosedale", "Silverton", "Stonebridge", "Summerfield", "Thornbury", "Westport", "Willowby",
    "Winslow",
)
STREETS = (
    "Baker", "Bridge", "Cedar", "Chapel", "Church", "Clover", "Elm", "Garden", "Grove", "Harbor", "Hill",
    "King", "Lake", "Linden", "Maple", "Market", "Meadow", "Mill", "North", "Oak", "Orchard", "Park", "Pine",
    "Queen", "River", "School", "Spring", "Station", "Walnut", "Water",
)
STREET_KINDS = ("Street", "Road", "Lane", "Avenue")
FIRMS = (
    "Arden", "Beacon", "Bluebird", "Compass", "Crown", "Delta", "Evergreen", "Falcon", "Granite", "Harbor",
    "Juniper", "Keystone", "Lantern", "Marlin", "Northstar", "Orchard", "Pioneer", "Sterling", "Summit",
    "Tidewell",
)
JOBS = {
    "Bank": ("teller", "loan officer", "auditor"),
    "Bakery": ("baker", "cashier", "delivery driver"),
    "Clinic": ("nurse", "receptionist", "lab technician"),
    "Hotel": ("cook", "night porter", "event planner"),
    "Insurance": ("claims adjuster", "sales agent", "accountant"),
    "Motors": ("mechanic", "welder", "parts buyer"),
    "Press": ("editor", "proofreader", "printer"),
    "School": ("teacher", "librarian", "caretaker"),
    "Software": ("tester", "engineer", "designer"),
    "Transport": ("dispatcher", "truck driver", "route planner"),
}
BRANDS = ("Corvane", "Halden", "Lumo", "Norvale", "Pellar", "Sorrel", "Tarvin", "Vesta")
FAULTS = {
    "blender": ("leaked at the base", "smelled of burning", "had a dull blade"),
    "camera": ("would not focus", "had a scratched lens", "lost its pictures"),
    "desk lamp": ("flickered all evening", "had a broken switch", "came without a bulb"),
    "drill": ("overheated within minutes", "had a loose chuck", "came without a charger"),
    "fan": ("rattled at night", "had a bent blade", "stopped after a day"),
    "headset": ("crackled in the left ear", "had a torn cushion", "would not pair"),
    "heater": ("tripped the fuse", "blew only cold air", "had a cracked grille"),
    "kettle": ("dripped from the spout", "had a rusty lid", "switched off too early"),
    "keyboard": ("had a stuck space bar", "came with the wrong layout", "lost its connection"),
    "laptop": ("had a dead screen", "would not charge", "shut down at random"),
    "mixer": ("jammed on low speed", "had a chipped bowl", "hummed but would not turn"),
    "monitor": ("had a line of dead pixels", "came with a broken stand", "showed no picture"),
    "printer": ("jammed on every page", "printed faint stripes", "was missing its tray"),
    "radio": ("picked up only static", "had a snapped aerial", "would not hold a station"),
    "router": ("dropped the signal every night", "had a faulty port", "kept restarting"),
    "scanner": ("left a gray streak", "had a cracked glass plate", "was not recognized"),
    "scooter": ("had a squeaking brake", "lost power uphill", "arrived with a flat tire"),
    "sewing machine": ("snapped the thread", "had a bent needle bar", "came without its pedal"),
    "speaker": ("buzzed at low volume", "had a dented cover", "went silent after a week"),
    "tablet": ("had a cracked corner", "froze while starting", "drained its battery overnight"),
    "toaster": ("burned one side only", "had a stuck lever", "sparked when plugged in"),
    "vacuum cleaner": ("had no suction", "came with a split hose", "made a grinding noise"),
    "watch": ("ran ten minutes fast", "had a broken clasp", "fogged up in the rain"),
}
CARRIERS = ("Swift Parcel", "Redline Freight", "Postways", "Harbor Express", "City Courier")
AGENTS = (
    "Agent Bloom", "Agent Castle", "Agent Drew", "Agent Finch", "Agent Lowe", "Agent Reed", "Agent Shore",
    "Agent Vale",
)
REMEDIES = (
    "a full refund of {price}", "a new {thing}", "a free repair", "a store credit of {price}",
    "a voucher for $25",
)
PLANS = ("basic", "silver", "gold", "family", "student")
PETS = (
    "a gray cat", "an old beagle", "two parrots", "a white rabbit", "a tortoise", "three hens",
    "a black poodle",
)
HOBBIES = (
    "rowing", "chess", "pottery", "birdwatching", "gardening", "choir singing", "woodwork", "fencing",
    "cycling", "stargazing", "watercolors", "beekeeping",
)
MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September", "October",
    "November", "December",
)
# fmt: on
