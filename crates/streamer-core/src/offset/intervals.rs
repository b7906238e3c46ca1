//! Lists of number intervals: sorted, disjoint, and with at least one number between neighbours.

use super::GtidInterval;

/// Sorts and joins what overlaps or touches.
pub(super) fn normalise(list: &mut Vec<GtidInterval>) {
    if is_normal(list) {
        return;
    }
    list.sort_unstable();
    list.dedup_by(|next, kept| {
        let joins = next.first <= kept.last.saturating_add(1);
        if joins {
            kept.last = kept.last.max(next.last);
        }
        joins
    });
}

fn is_normal(list: &[GtidInterval]) -> bool {
    list.iter()
        .zip(list.iter().skip(1))
        .all(|(left, right)| left.last.saturating_add(1) < right.first)
}

/// Adds one number: constant time at the end, else a search and at most one move of what follows.
pub(super) fn insert(list: &mut Vec<GtidInterval>, number: u64) {
    if let Some(last) = list.last_mut()
        && last.first <= number
        && number <= last.last.saturating_add(1)
    {
        last.last = last.last.max(number);
        return;
    }
    // The first interval that the number can touch or precede.
    let at = list.partition_point(|interval| interval.last.saturating_add(1) < number);
    let following = list.get(at + 1).copied();
    match list.get_mut(at) {
        Some(interval) if number.saturating_add(1) < interval.first => {
            list.insert(
                at,
                GtidInterval {
                    first: number,
                    last: number,
                },
            );
        }
        Some(interval) => {
            interval.first = interval.first.min(number);
            interval.last = interval.last.max(number);
            if let Some(next) = following
                && interval.last.saturating_add(1) >= next.first
            {
                interval.last = next.last;
                list.remove(at + 1);
            }
        }
        None => list.push(GtidInterval {
            first: number,
            last: number,
        }),
    }
}

/// Whether the number is in one of them.
pub(super) fn contains(list: &[GtidInterval], number: u64) -> bool {
    list.get(list.partition_point(|interval| interval.last < number))
        .is_some_and(|interval| interval.first <= number)
}

/// Whether every number of `inner` is in `outer`. No two intervals of `outer` touch, so one must hold each whole.
pub(super) fn is_subset(inner: &[GtidInterval], outer: &[GtidInterval]) -> bool {
    inner.iter().all(|interval| {
        outer
            .get(outer.partition_point(|candidate| candidate.last < interval.last))
            .is_some_and(|candidate| candidate.first <= interval.first)
    })
}

/// Whether they have a number in common.
pub(super) fn intersect(left: &[GtidInterval], right: &[GtidInterval]) -> bool {
    left.iter().any(|interval| {
        right
            .get(right.partition_point(|candidate| candidate.last < interval.first))
            .is_some_and(|candidate| candidate.first <= interval.last)
    })
}

/// What of `left` is not in `right`.
pub(super) fn subtract(left: &[GtidInterval], right: &[GtidInterval]) -> Vec<GtidInterval> {
    let mut rest = Vec::new();
    let mut holes = right.iter().peekable();
    for interval in left {
        let mut first = interval.first;
        while holes.next_if(|hole| hole.last < first).is_some() {}
        while let Some(hole) = holes.peek()
            && hole.first <= interval.last
        {
            if first < hole.first {
                rest.push(GtidInterval {
                    first,
                    last: hole.first - 1,
                });
            }
            first = hole.last.saturating_add(1);
            if hole.last > interval.last {
                break;
            }
            holes.next();
        }
        if first <= interval.last {
            rest.push(GtidInterval {
                first,
                last: interval.last,
            });
        }
    }
    rest
}
