"""The blind baseline: blind to people, not to another way of writing."""

from unlearn.attacks.blind import blind_baseline
from unlearn.corpus.records import Record
from unlearn.corpus.synthetic import synthetic_world


def world():
    return synthetic_world(people_train=20, people_holdout=20, people_base=1, records_per_person=6, seed=3)


def test_people_of_one_kind_are_not_told_apart_by_their_words():
    made = world()
    low, high = blind_baseline(made.train, made.holdout, 0).interval
    assert low <= 0.58
    assert high >= 0.42


def test_another_way_of_writing_is():
    made = world()
    shouting = [Record(r.id, r.subjects, text=r.content.upper() + "!!") for r in made.holdout]
    assert blind_baseline(made.train, shouting, 0).auc > 0.95


def test_a_name_that_a_persons_records_share_does_not_help_with_other_people():
    def person(name):
        return [Record(f"{name}-{i}", (name,), text=f"{name} ordered item {i} on Monday.") for i in range(5)]

    one, other = (["abel", "cato", "dora", "edna", "finn", "gert"], ["hugo", "ines", "jost", "kaja", "lene", "milo"])
    found = blind_baseline([r for n in one for r in person(n)], [r for n in other for r in person(n)], 0)
    assert found.auc < 0.85  # with the people known it would be 1


def test_with_few_people_nothing_is_claimed():
    few = [Record(f"h-{i}", (f"h-{i % 4}",), text=f"Order {i}.") for i in range(40)]
    assert blind_baseline(world().train, few, 0) is None


def test_the_same_seed_finds_the_same():
    made = world()
    assert blind_baseline(made.train, made.holdout, 4) == blind_baseline(made.train, made.holdout, 4)
