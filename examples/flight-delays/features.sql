-- What is known about a flight when it is scheduled. One row out for each row in, from that row alone.
-- The month is left out on purpose: it differs between any two windows of this data, and a model that leans on it is
-- wrong as soon as the next month begins.
SELECT
  -- When: the evening inherits the delays of the day.
  hour,
  hour * 60 + minute AS minute_of_day,
  day_of_week,
  day_of_week IN (0, 6) AS is_weekend,

  -- Who and where.
  carrier,
  origin,
  dest,
  distance,

  -- The plane. Its age and not its year, so that a plane does not become another one in the next year.
  date_part('year', scheduled_at) - plane_year AS plane_age,
  plane_seats,

  -- The weather at the origin in the scheduled hour.
  temp,
  humid,
  wind_speed,
  precip,
  pressure,
  visib,
  precip > 0 AS is_wet,
  visib < 3 AS is_foggy,
  -- Warm and damp at once: thunderstorms, which the summer's delays come from.
  temp * humid / 100 AS mugginess
FROM source
