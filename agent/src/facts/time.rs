//! `ansible_date_time`. The host's time zone is known to `date` alone: the agent has no zone files of its own.

use super::gather::{Facts, fact};
use crate::serve::{Control, Process};
use serde_json::{Value, json};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// What `date` is asked for, in local time.
const LOCAL: &str = "+%Y|%m|%d|%H|%M|%S|%A|%w|%V|%Z|%z|%s";

/// Now, in the host's zone; in UTC where `date` does not answer.
pub(super) fn now(control: &Control) -> Facts {
    let argv = ["date", LOCAL];
    let answer = Process::new(argv, control).env("LC_ALL", "C").timeout(Duration::from_secs(5)).run();
    let said = answer.map(|finished| finished.stdout_text()).unwrap_or_default();
    let nanos = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    vec![fact("date_time", read(said.trim(), nanos.as_secs(), nanos.subsec_micros()))]
}

fn read(local: &str, now: u64, micros: u32) -> Value {
    let fallback = utc_fields(now);
    let fields: Vec<&str> = local.split('|').collect();
    let [year, month, day, hour, minute, second, weekday, number, week, zone, offset, epoch] = fields.as_slice() else {
        return read(&fallback, now, micros);
    };
    let (y, mo, d, h, mi, s) = civil(epoch.parse().unwrap_or(now));
    json!({
        "year": year, "month": month, "day": day, "hour": hour, "minute": minute, "second": second,
        "date": format!("{year}-{month}-{day}"), "time": format!("{hour}:{minute}:{second}"),
        "weekday": weekday, "weekday_number": number, "weeknumber": week,
        "tz": zone, "tz_offset": offset,
        "epoch": epoch, "epoch_int": epoch,
        "iso8601": format!("{y:04}-{mo:02}-{d:02}T{h:02}:{mi:02}:{s:02}Z"),
        "iso8601_micro": format!("{y:04}-{mo:02}-{d:02}T{h:02}:{mi:02}:{s:02}.{micros:06}Z"),
        "iso8601_basic": format!("{year}{month}{day}T{hour}{minute}{second}{micros:06}"),
        "iso8601_basic_short": format!("{year}{month}{day}T{hour}{minute}{second}"),
    })
}

/// What `date -u` would say; week number and weekday from the day count.
fn utc_fields(epoch: u64) -> String {
    let (y, mo, d, h, mi, s) = civil(epoch);
    let days = epoch / 86_400;
    // 1970-01-01 was a Thursday.
    let weekday = (days + 4) % 7;
    let names = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];
    let name = names.get(usize::try_from(weekday).unwrap_or_default()).copied().unwrap_or_default();
    // ISO 8601: the week of a day is that of its Thursday.
    let thursday = days + 3 - (weekday + 6) % 7;
    let (year, ..) = civil(thursday * 86_400);
    let week = (thursday - days_to_year(year)) / 7 + 1;
    format!("{y:04}|{mo:02}|{d:02}|{h:02}|{mi:02}|{s:02}|{name}|{weekday}|{week:02}|UTC|+0000|{epoch}")
}

fn days_to_year(year: u64) -> u64 {
    (1970..year).map(|year| if is_leap(year) { 366 } else { 365 }).sum()
}

fn is_leap(year: u64) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

/// Year, month, day, hour, minute and second in UTC (Hinnant, `civil_from_days`, for days since 1970).
fn civil(epoch: u64) -> (u64, u64, u64, u64, u64, u64) {
    let (days, rest) = (epoch / 86_400 + 719_468, epoch % 86_400);
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    (year, month, day, rest / 3600, rest / 60 % 60, rest % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_become_dates() {
        assert_eq!(civil(0), (1970, 1, 1, 0, 0, 0));
        assert_eq!(civil(951_782_400), (2000, 2, 29, 0, 0, 0));
        assert_eq!(civil(1_795_293_856), (2026, 11, 21, 20, 44, 16));
    }

    #[test]
    fn without_date_the_fields_are_those_of_utc() {
        assert_eq!(utc_fields(1_795_293_856), "2026|11|21|20|44|16|Saturday|6|47|UTC|+0000|1795293856");
        assert_eq!(utc_fields(1_230_768_000), "2009|01|01|00|00|00|Thursday|4|01|UTC|+0000|1230768000");
        assert_eq!(utc_fields(1_262_304_000), "2010|01|01|00|00|00|Friday|5|53|UTC|+0000|1262304000");
        let facts = read("", 1_795_293_856, 7);
        assert_eq!(
            (&facts["iso8601_micro"], &facts["weekday"]),
            (&json!("2026-11-21T20:44:16.000007Z"), &json!("Saturday"))
        );
    }

    #[test]
    fn local_time_is_kept_beside_universal_time() {
        let facts = read("2026|07|01|02|30|00|Wednesday|3|27|CEST|+0200|1782865800", 0, 0);
        assert_eq!((&facts["hour"], &facts["tz"]), (&json!("02"), &json!("CEST")));
        assert_eq!(facts["iso8601"], "2026-07-01T00:30:00Z");
    }
}
