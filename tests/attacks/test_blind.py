"""The blind baseline: blind to people, not to another way of writing."""

from statistics import fmean

from unlearn.attacks.blind import RECORDS, blind_baseline
from unlearn.corpus.records import Record
from unlearn.corpus.synthetic import synthetic_world


def world(seed=3):
    return synthetic_world(people_train=20, people_holdout=20, people_base=1, records_per_person=6, seed=seed)


def test_people_of_one_kind_are_not_told_apart_by_their_words():
    found = [blind_baseline(made.train, made.holdout).auc for made in map(world, range(6))]
    assert 0.4 < fmean(found) < 0.6


def test_another_way_of_writing_is():
    made = world()
    shouting = [Record(r.id, r.subjects, text=r.content.upper() + "!!") for r in made.holdout]
    assert blind_baseline(made.train, shouting).auc > 0.95


def test_a_name_that_a_persons_records_share_does_not_help_with_other_people():
    def person(name):
        return [Record(f"{name}-{i}", (name,), text=f"{name} ordered item {i} on Monday.") for i in range(5)]

    one, other = (["abel", "cato", "dora", "edna", "finn", "gert"], ["hugo", "ines", "jost", "kaja", "lene", "milo"])
    found = blind_baseline([r for n in one for r in person(n)], [r for n in other for r in person(n)])
    assert found.auc < 0.85  # with the people known it would be 1


def test_no_more_than_a_bounded_part_of_large_corpora_is_read():
    many = [Record(f"m-{i}", (f"p-{i % 40}",), text=f"Order {i} went to Delft.") for i in range(3000)]
    found = blind_baseline(many, many[:30])
    assert found.members == 40  # people, of whom no more than so many records were read
    assert len(many) > RECORDS
    assert found.non_members == 30


def test_with_few_people_nothing_is_claimed():
    few = [Record(f"h-{i}", (f"h-{i % 4}",), text=f"Order {i}.") for i in range(40)]
    assert blind_baseline(world().train, few) is None


def test_the_same_seed_finds_the_same():
    made = world()
    assert blind_baseline(made.train, made.holdout) == blind_baseline(made.train, made.holdout)
